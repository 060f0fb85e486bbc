"""``fedproof federation add|remove|list|renew``: with the service running or not."""

import contextlib
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from anvil import running_anvil
from eth_account import Account
from fedproof_command import fedproof
from web3 import Web3

from clients.data.load import load_data
from contracts.binding import calls
from contracts.binding.federation import Federation
from contracts.binding.rpc import rpc_of
from contracts.node.node import EmbeddedNode
from contracts.node.rpc import Dispatcher
from contracts.node.timing import wall_clock
from coordinator.founding.certificates import end_of, make_node_key, names_of
from coordinator.founding.chain import in_process
from coordinator.founding.create import OwnKey, create_federation
from coordinator.founding.folder import FederationFolder
from coordinator.founding.invitation import Invited
from coordinator.founding.members import FederationMembers, checked_name, parse_balance
from coordinator.founding.renewal import renew, renew_authority
from coordinator.http.http_context import HttpContext
from coordinator.http.server import serve_http
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.ledger.deployment import deploy_federation, read_deployment
from coordinator.local import keyfile
from coordinator.protocol.errors import ConfigError, KeyFileError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.agreement import read_agreement
from coordinator.settings.participant import load_participant
from coordinator.settings.registry import read_registry
from coordinator.stores.disk import DiskStore

ETHER = 10**18
OWN = Account.from_key((7).to_bytes(32, "big"))


@contextlib.contextmanager
def serving(folder: FederationFolder, online: list[str]) -> Iterator[None]:
    """A coordinator's HTTP face over TLS, which holds the chain; its port is in the settings."""
    node = EmbeddedNode.create_or_open(folder.chain, clock=wall_clock)
    store = DiskStore(folder.blobs, read_only=True)
    agreement = read_agreement(folder.agreement)
    with node, in_process(node) as w3:
        dispatcher = Dispatcher(node)
        federation = Federation(w3, Address(agreement.contract))
        snapshot = ServiceSnapshot("waiting", online=tuple(online))
        context = HttpContext(agreement, federation, store, lambda: snapshot, dispatcher)
        with serve_http(context, certfile=folder.server, keyfile=folder.server_key) as handle:
            port = handle.url.rsplit(":", 1)[1]
            text = folder.settings.read_text()
            folder.settings.write_text(text.replace("port = 8700", f"port = {port}"))
            yield
        dispatcher.close()
        store.close()


def balance(folder: FederationFolder, address: str) -> int:
    node = EmbeddedNode.open_read_only(folder.chain)
    with node, in_process(node) as w3:
        return rpc_of(w3).quantity("eth_getBalance", address, "latest")


# --- add ----------------------------------------------------------------------------------------


def test_add_makes_a_folder_with_money_and_registers_the_node(heart: Path) -> None:
    members = FederationMembers(heart)
    added = members.add(Invited("ulm"))
    place = members.folder.participant("ulm")
    settings = load_participant(place / "participant.toml")
    assert settings.name == "ulm"
    assert settings.coordinator.superlink == "127.0.0.1:9092"
    account = keyfile.load(place / "account.json", (place / "password.txt").read_text().strip())
    assert account.address == added.address
    assert stat.S_IMODE((place / "node.key").stat().st_mode) == 0o600
    assert balance(members.folder, added.address) == 100 * ETHER
    registry = read_registry(members.folder.registry)
    assert [p.name for p in registry.participants] == ["zurich", "basel", "ulm"]
    assert registry.get("ulm") == added
    # who comes later can join like everybody else
    with EmbeddedNode.create_or_open(members.folder.chain) as node, in_process(node) as w3:
        federation = Federation(w3, Address(members.agreement.contract))
        federation.transact(account, calls.join(Wei(2 * ETHER)))
    assert [m.bond_wei for m in members.listing().members] == [0, 0, 2 * ETHER]


def test_add_with_keys_and_a_balance_of_ones_own(heart: Path) -> None:
    members = FederationMembers(heart)
    key = make_node_key("own").public
    added = members.add(Invited("own", OWN.address, key), parse_balance("3 ether"))
    assert (added.address, added.node_key) == (OWN.address, key)
    assert balance(members.folder, OWN.address) == 3 * ETHER
    assert not (members.folder.participant("own") / "account.json").exists()
    assert not (members.folder.participant("own") / "node.key").exists()


def test_add_through_the_running_service(heart: Path) -> None:
    """The chain's file is the service's: the money goes over HTTPS, by the treasury's key."""
    folder = FederationFolder(heart)
    zurich = read_registry(folder.registry).participants[0].address
    with serving(folder, [zurich]):
        members = FederationMembers(heart)
        added = members.add(Invited("ulm"))
        settings = load_participant(folder.participant("ulm") / "participant.toml")
        assert settings.coordinator.rpc == members.reach.rpc != "https://127.0.0.1:8700/rpc"
        listing = members.listing()
        assert listing.remarks == ()
        found_online = {m.name: m.online for m in listing.members}
        assert found_online == {"zurich": True, "basel": False, "ulm": False}
    assert balance(folder, added.address) == 100 * ETHER


def test_without_the_treasury_nothing_is_added(heart: Path) -> None:
    folder = FederationFolder(heart)
    folder.treasury_key.unlink()
    before = folder.registry.read_bytes()
    with pytest.raises(KeyFileError, match=r"treasury\.json: No such file"):
        FederationMembers(heart).add(Invited("ulm"))
    assert not folder.participant("ulm").exists()
    assert not folder.node_key("ulm").exists()
    assert folder.registry.read_bytes() == before


def test_what_is_there_already_is_refused(heart: Path) -> None:
    members = FederationMembers(heart)
    before = members.folder.registry.read_bytes()
    first = read_registry(members.folder.registry).participants[0]
    with pytest.raises(ConfigError, match="zurich: there is such a participant already"):
        members.add(Invited("zurich"))
    with pytest.raises(ConfigError, match=r"address .* is there twice"):
        members.add(Invited("ulm", first.address))
    with pytest.raises(ConfigError, match="node key of ulm is there twice"):
        members.add(Invited("ulm", "", first.node_key))
    assert members.folder.registry.read_bytes() == before
    assert not members.folder.participant("ulm").exists()


def test_names_and_amounts_are_checked() -> None:
    assert checked_name("st.gallen-2") == "st.gallen-2"
    for name in ("", "../evil", "a/b", "-a", "ä", "a" * 65):
        with pytest.raises(ConfigError, match="expected letters, digits"):
            checked_name(name)
    assert parse_balance("") is None
    assert parse_balance("1.5 ether") == 15 * 10**17
    with pytest.raises(ConfigError, match='--balance "much"'):
        parse_balance("much")


def test_no_federation_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no federation's folder"):
        FederationMembers(tmp_path)


# --- remove and list ----------------------------------------------------------------------------


def test_removed_is_not_admitted_but_keeps_its_money(heart: Path) -> None:
    members = FederationMembers(heart)
    removed = members.remove("zurich")
    assert [p.name for p in read_registry(members.folder.registry).participants] == ["basel"]
    assert not members.folder.node_key("zurich").exists()
    assert members.folder.participant("zurich").is_dir()
    assert balance(members.folder, removed.address) == 100 * ETHER
    with pytest.raises(ConfigError, match="zurich: no such participant; there are: basel"):
        members.remove("zurich")


def test_a_removed_node_comes_back_with_a_new_key_only(heart: Path) -> None:
    """Flower keeps a key that was taken out for good, and refuses it."""
    members = FederationMembers(heart)
    old = members.remove("zurich")
    members.folder.participant("zurich").rename(heart / "zurich.old")
    renamed = old.node_key.rsplit(" ", 1)[0] + " renamed"
    for key in (old.node_key, renamed):
        with pytest.raises(ConfigError, match="never admits it again; it needs a new one"):
            members.add(Invited("zurich", old.address, key))
    added = members.add(Invited("zurich", old.address, make_node_key("new").public))
    registry = read_registry(members.folder.registry)
    assert registry.get("zurich") == added
    assert registry.removed_keys == [old.node_key]


def test_list_says_what_it_does_not_know(heart: Path) -> None:
    members = FederationMembers(heart)
    text = members.folder.settings.read_text()
    members.folder.settings.write_text(text.replace("8700", "1"))  # nobody listens there
    listing = FederationMembers(heart).listing()
    assert [(m.name, m.bond_wei, m.online) for m in listing.members] == [
        ("zurich", 0, None),
        ("basel", 0, None),
    ]
    assert len(listing.remarks) == 1
    assert "the service does not answer: https://127.0.0.1:1/status" in listing.remarks[0]


# --- renew --------------------------------------------------------------------------------------


def test_renew_keeps_names_and_key_and_changes_nothing_else(heart: Path) -> None:
    folder = FederationFolder(heart)
    before, key = folder.server.read_bytes(), folder.server_key.read_bytes()
    renewed = renew(heart, [], days=30)
    after = folder.server.read_bytes()
    assert after != before
    assert names_of(after) == ["localhost", "127.0.0.1", "::1"] == list(renewed.names)
    assert abs(end_of(after) - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    assert folder.server_key.read_bytes() == key
    local = ("localhost", "127.0.0.1", "::1")
    assert renew(heart, ["fed.example.org"]).names == ("fed.example.org", *local)
    folder.authority_key.unlink()
    kept = folder.server.read_bytes()
    with pytest.raises(ConfigError, match=r"ca\.key: cannot be read: No such file"):
        renew(heart, [])
    assert folder.server.read_bytes() == kept


def test_a_new_authority_ends_all_trust_in_the_old_one(heart: Path) -> None:
    folder = FederationFolder(heart)
    before = {p: p.read_bytes() for p in (heart / "tls").iterdir()}
    renewed = renew_authority(heart, [])
    assert renewed.authority == folder.authority
    assert renewed.names == ("localhost", "127.0.0.1", "::1")
    after = {p: p.read_bytes() for p in (heart / "tls").iterdir()}
    assert after.keys() == before.keys()
    assert all(after[path] != before[path] for path in after)
    assert stat.S_IMODE(folder.authority_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.server_key.stat().st_mode) == 0o600
    # the new certificate is under the new authority, and not under the participants' old one
    with serving(folder, []):
        assert FederationMembers(heart).listing().remarks == ()
        folder.authority.write_bytes(before[folder.authority])
        remarks = FederationMembers(heart).listing().remarks
    assert len(remarks) == 2
    assert all("certificate" in remark for remark in remarks), remarks


# --- the commands -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands_speak_to_people_and_to_scripts(tmp_path: Path) -> None:
    config = tmp_path / "federation.toml"
    config.write_text('name = "two"\n[input]\nshape = [3]\nclasses = 2\n')
    made = fedproof("federation", "init", "--config", config, "--out", tmp_path / "two", "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["name"], told["deployed"], told["participants"]) == ("two", True, [])
    again = fedproof("federation", "init", "--config", config, "--out", tmp_path / "two")
    assert again.returncode == 2
    assert "exists already; nothing is ever overwritten" in again.stderr
    at = ("--dir", tmp_path / "two")
    added = fedproof("federation", "add", "ulm", "--address", OWN.address, *at)
    assert added.returncode == 0, added.stderr
    assert f"added   ulm  {OWN.address}" in added.stdout
    listed = json.loads(fedproof("federation", "list", "--json", *at).stdout)
    assert listed["participants"] == [
        {
            "name": "ulm",
            "address": OWN.address,
            "bond_wei": "0",
            "node_registered": True,
            "online": None,
        }
    ]
    assert "ulm" in fedproof("federation", "list", *at).stdout
    removed = fedproof("federation", "remove", "ulm", *at)
    assert removed.stdout.strip() == f"removed ulm  {OWN.address}; its stake is untouched"
    missing = fedproof("federation", "remove", "ulm", *at)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "ulm: no such participant; there are: none" in missing.stderr
    assert "Traceback" not in missing.stderr
    renewed = fedproof("federation", "renew", *at)
    assert "localhost, 127.0.0.1" in renewed.stdout
    key = fedproof("federation", "node-key", tmp_path / "node.key", "--json")
    assert json.loads(key.stdout)["public"] == (tmp_path / "node.key.pub").read_text().strip()
    assert fedproof("federation", "node-key", tmp_path / "node.key").returncode == 6


# --- another chain ------------------------------------------------------------------------------


def test_on_another_chain_init_says_who_needs_how_much(tmp_path: Path) -> None:
    with running_anvil() as url:
        config = tmp_path / "federation.toml"
        config.write_text(
            f'name = "out"\n[input]\nshape = [3]\nclasses = 2\n[chain]\nrpc = "{url}"\n'
        )
        founded = create_federation(config, tmp_path / "out", load_examples=load_data)
        coordinator = founded.agreed.deployment.terms.coordinator
        assert f"{coordinator} needs" in founded.waiting_for
        assert "found 0 wei" in founded.waiting_for
        assert not founded.folder.chain.exists()
        assert not founded.folder.treasury_key.exists()
        w3 = Web3(Web3.HTTPProvider(url))
        rpc_of(w3).request("anvil_setBalance", coordinator, hex(1_000 * ETHER))
        # what the service does when it starts
        password = keyfile.password_from(founded.folder.coordinator_password, confirm=False)
        account = keyfile.load(founded.folder.coordinator_key, password)
        plan = read_deployment(founded.folder.deployment)
        federation = deploy_federation(w3, account, plan, chain_id=1337)
        assert federation.address == founded.agreed.agreement.contract
        members = FederationMembers(tmp_path / "out")
        members.add(Invited("ulm", OWN.address, make_node_key("ulm").public))
        assert members.listing().members[0].bond_wei == 0
        with pytest.raises(ConfigError, match="only the embedded chain has a treasury"):
            members.add(Invited("chur"), Wei(1))
        # an account that has the money deploys at once
        rich = keyfile.create(tmp_path / "rich.json", "pw")
        rpc_of(w3).request("anvil_setBalance", rich.address, hex(1_000 * ETHER))
        second = create_federation(
            config,
            tmp_path / "second",
            OwnKey(tmp_path / "rich.json", "pw"),
            load_examples=load_data,
        )
        assert second.waiting_for == ""
        assert second.agreed.deployment.terms.coordinator == rich.address
        assert Federation(w3, Address(second.agreed.agreement.contract)).head().pool_wei > 0
    elsewhere = create_federation(config, tmp_path / "third", load_examples=load_data)
    assert "connection refused" in elsewhere.waiting_for
