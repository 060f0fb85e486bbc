"""``fedproof federation init``: everything that is needed, once, or nothing at all."""

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from web3 import Web3

from clients.data.load import load_data
from contracts.binding.federation import Federation
from contracts.binding.rpc import rpc_of
from contracts.node.node import EmbeddedNode
from coordinator.founding import create
from coordinator.founding.agreement import agree
from coordinator.founding.certificates import make_node_key, names_of
from coordinator.founding.chain import in_process
from coordinator.founding.create import Founded, create_federation
from coordinator.http.blobs import BYTES, _announced
from coordinator.ledger.deployment import deployed_at, read_deployment
from coordinator.local import keyfile
from coordinator.protocol.errors import ConfigError, KeyFileError, LedgerError
from coordinator.protocol.types import Address
from coordinator.service.public_evaluation import PublicSet
from coordinator.service.scorers import scorer_from
from coordinator.settings.agreement import read_agreement
from coordinator.settings.coordinator import load_coordinator
from coordinator.settings.founding import load_founding
from coordinator.settings.participant import load_participant
from coordinator.settings.registry import read_registry
from coordinator.stores.disk import DiskStore

ETHER = 10**18
HOSPITAL = Account.from_key((7).to_bytes(32, "big"))
Config = Callable[..., Path]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- files --------------------------------------------------------------------------------------


def test_every_file_is_there_and_secrets_are_private(founded: Founded) -> None:
    root = founded.folder.root
    secret = {
        "keys/coordinator.json",
        "keys/coordinator.password",
        "keys/treasury.json",
        "keys/treasury.password",
        "tls/ca.key",
        "tls/server.key",
    }
    public = {"federation.json", "federation.toml", "coordinator.toml", "registry.json"}
    public |= {"tls/ca.crt", "tls/server.crt", "state/deployment.json"}
    for name in ("zurich", "basel"):
        place = f"participants/{name}"
        secret |= {f"{place}/{file}" for file in ("account.json", "password.txt", "node.key")}
        public |= {f"{place}/{file}" for file in ("participant.toml", "federation.json")}
        public |= {f"{place}/ca.crt", f"{place}/node.key.pub", f"nodes/{name}.pub"}
    assert {name: mode(root / name) for name in secret} == dict.fromkeys(secret, 0o600)
    assert {name: mode(root / name) for name in public} == dict.fromkeys(public, 0o644)
    folders = [root, *(root / name for name in ("keys", "tls", "participants", "state"))]
    assert [mode(folder) for folder in folders] == [0o700] * 5
    others = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(founded.folder.state)
    }
    assert others == (secret | public) - {"state/deployment.json"}
    assert not list(root.parent.glob(".*")), "an unfinished folder was left"


def test_the_daemons_can_read_what_was_written(founded: Founded) -> None:
    folder = founded.folder
    settings = load_coordinator(folder.settings)
    assert (settings.http.port, settings.flower.port, settings.flower.insecure) == (
        8700,
        9092,
        False,
    )
    for path in (
        settings.federation,
        settings.account.key,
        settings.http.certificate,
        settings.http.key,
        settings.flower.ca,
        settings.flower.registry,
    ):
        assert (folder.root / path).is_file(), path
    assert settings.round.rounds == 3
    place = folder.participant("basel")
    basel = load_participant(place / "participant.toml")
    reach = basel.coordinator
    assert (reach.rpc, reach.store) == ("https://127.0.0.1:8700/rpc", "https://127.0.0.1:8700")
    assert (reach.superlink, reach.ca) == ("127.0.0.1:9092", "ca.crt")
    assert (place / basel.federation).read_bytes() == folder.agreement.read_bytes()
    assert (place / reach.ca).read_bytes() == folder.authority.read_bytes()
    assert names_of(folder.server.read_bytes()) == ["localhost", "127.0.0.1", "::1"]


def test_each_account_opens_with_its_own_password_only(founded: Founded) -> None:
    folder = founded.folder
    place = folder.participant("zurich")
    password = keyfile.password_from(place / "password.txt", confirm=False)
    account = keyfile.load(place / "account.json", password)
    entry = read_registry(folder.registry).get("zurich")
    assert entry is not None
    assert entry.address == account.address
    assert entry.node_key + "\n" == folder.node_key("zurich").read_text()
    assert entry.node_key + "\n" == (place / "node.key.pub").read_text()
    with pytest.raises(KeyFileError, match="wrong password"):
        keyfile.load(folder.participant("basel") / "account.json", password)


# --- agreement and chain ------------------------------------------------------------------------


def test_the_contract_binds_the_agreement(founded: Founded) -> None:
    folder = founded.folder
    agreement = read_agreement(folder.agreement)
    deployment = read_deployment(folder.deployment)
    assert deployment == founded.agreed.deployment
    node = EmbeddedNode.open_read_only(folder.chain)
    with node, in_process(node) as w3:
        federation = Federation(w3, Address(agreement.contract))
        terms = federation.terms
        assert terms == deployment.terms
        assert terms.config_digest == agreement.digest
        assert terms.initial_model_root.hex() == agreement.initial_model_root
        assert (terms.min_stake_wei, terms.unbonding_period_s) == (2 * ETHER, 600)
        head = federation.head()
        assert head.pool_wei == 3 * ETHER  # three rounds at one ether
        assert head.referee == deployed_at(terms.coordinator).referee
        assert federation.account(terms.coordinator).bond_wei == 10 * ETHER
        for one in founded.participants:
            assert rpc_of(w3).quantity("eth_getBalance", one.address, "latest") == 100 * ETHER
        assert rpc_of(w3).quantity("eth_chainId") == agreement.chain_id == 1337


def test_a_verifier_finds_everything_before_the_first_round(founded: Founded) -> None:
    agreement = read_agreement(founded.folder.agreement)
    store = DiskStore(founded.folder.blobs, read_only=True)
    manifest, rule = agreement.core_manifest, agreement.core_rule
    model = store.get_vector(bytes.fromhex(agreement.initial_model_root), manifest)
    assert model.shape == (manifest.dimension,) == (3 * 4 + 4 + 4 * 2 + 2,)
    assert store.get_document("rule", agreement.rule_hash) == agreement.rule
    assert store.get_bytes(rule.manifest_hash) == manifest.to_json()
    assert store.get_bytes(rule.scoring_hash) == b'{"kind":"examples"}'
    store.close()


def test_the_same_file_and_account_give_the_same_agreement(config: Config) -> None:
    path = config()
    founding = load_founding(path)
    coordinator = Address(HOSPITAL.address)
    one, two = (agree(founding, coordinator, path.parent, load_data) for _ in range(2))
    assert one.agreement.canonical_json() == two.agreement.canonical_json()
    assert one.agreement.digest == two.agreement.digest
    reseeded = agree(founding.model_copy(update={"seed": 4}), coordinator, path.parent, load_data)
    assert reseeded.agreement.initial_model_root != one.agreement.initial_model_root
    assert reseeded.agreement.digest != one.agreement.digest


def test_leave_one_out_publishes_its_evaluation_set_scaled_as_agreed(
    config: Config, tmp_path: Path
) -> None:
    scoring = '[scoring]\nkind = "leave_one_out"\nevaluation_examples = 2\n'
    text = 'evaluation_data = "public.npz"\n' + config().read_text() + scoring
    founding = load_founding(config(text))
    x = np.array([[65.0, 270.0, 115.0], [55.0, 220.0, 140.0], [0.0, 0.0, 0.0]])
    np.savez(tmp_path / "public.npz", x=x, y=np.array([1, 0, 1]))
    agreed = agree(founding, Address(HOSPITAL.address), tmp_path, load_data)
    store = DiskStore(tmp_path / "blobs")
    agreed.publish(store)
    document = agreed.agreement.scoring
    assert scorer_from(document, store).needs_previous_round
    from coordinator.service.scorers import decode_evaluation_set

    blob = store.get_bytes(bytes.fromhex(str(document["evaluation"])))
    inputs, labels = decode_evaluation_set(blob)
    bits = agreed.agreement.core_architecture.activation_bits
    assert inputs.tolist() == [[1 << bits, 1 << bits, -1 << bits], [0, 0, 0]]
    assert labels.tolist() == [1, 0]
    store.close()
    many = founding.model_copy(
        update={"scoring": founding.scoring.model_copy(update={"evaluation_examples": 4})}
    )
    with pytest.raises(ConfigError, match=r"public\.npz: 3 examples, .* asks for 4"):
        agree(many, Address(HOSPITAL.address), tmp_path, load_data)


def test_a_public_set_to_evaluate_on_is_agreed_by_its_digest(
    config: Config, tmp_path: Path
) -> None:
    section = '[evaluation]\nevery = 2\ndata = "public.csv"\nexamples = 2\n'
    founding = load_founding(config(config().read_text() + section))
    (tmp_path / "public.csv").write_text(
        "age,chol,thalach,disease\n65,270,115,1\n55,220,140,0\n0,0,0,1\n"
    )
    agreed = agree(founding, Address(HOSPITAL.address), tmp_path, load_data)
    store = DiskStore(tmp_path / "blobs")
    agreed.publish(store)
    evaluation = agreed.agreement.evaluation
    assert evaluation is not None
    assert (evaluation.every, evaluation.test_share) == (2, 0.2)
    public = PublicSet.agreed(agreed.agreement, store)
    assert public is not None
    bits = agreed.agreement.core_architecture.activation_bits
    assert public.inputs.tolist() == [[1 << bits, 1 << bits, -1 << bits], [0, 0, 0]]
    assert public.labels.tolist() == [1, 0]
    found = public.measure(agreed.initial_model)
    assert (found.examples, found.loss is None) == (2, False)
    store.close()
    published = dict(_announced(agreed.agreement))
    assert published[bytes.fromhex(evaluation.public_set)] == BYTES
    wanted = founding.evaluation.model_copy(update={"examples": 4})
    many = founding.model_copy(update={"evaluation": wanted})
    with pytest.raises(
        ConfigError, match=r"public\.csv: 3 examples, evaluation\.examples asks for 4"
    ):
        agree(many, Address(HOSPITAL.address), tmp_path, load_data)
    every = founding.evaluation.model_copy(update={"examples": 0})
    whole = founding.model_copy(update={"evaluation": every})
    other = agree(whole, Address(HOSPITAL.address), tmp_path, load_data)
    assert other.agreement.digest != agreed.agreement.digest


# --- participants with keys of their own ---------------------------------------------------------


def test_who_brings_keys_is_sent_no_secret(config: Config, tmp_path: Path) -> None:
    line = make_node_key("ours").public
    (tmp_path / "ours.pub").write_text(line)
    own = f'[[participants]]\nname = "own"\naddress = "{HOSPITAL.address.lower()}"\n'
    text = config().read_text() + own + 'node_key = "ours.pub"\n'
    founded = create_federation(config(text), tmp_path / "out", load_examples=load_data)
    place = founded.folder.participant("own")
    assert {path.name for path in place.iterdir()} == {
        "participant.toml",
        "federation.json",
        "ca.crt",
    }
    settings = load_participant(place / "participant.toml")
    assert (settings.account.key, settings.account.password_file) == ("account.json", "")
    entry = read_registry(founded.folder.registry).get("own")
    assert entry is not None
    assert (entry.address, entry.node_key) == (HOSPITAL.address, line)
    node = EmbeddedNode.open_read_only(founded.folder.chain)
    with node, in_process(node) as w3:
        balance = rpc_of(w3).quantity("eth_getBalance", HOSPITAL.address, "latest")
    assert balance == 100 * ETHER


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('[host]\nhost = "0.0.0.0"\ntls = false', "without TLS it may only listen on 127.0.0.1"),
        ('[chain]\nstarting_balance_wei = "2 ether"', r"must be more than stake.minimum_wei"),
        ('[host]\nnames = ["no host!"]', '"no host!" is neither a host name nor an IP'),
        ('[[participants]]\nname = "c"\naddress = "0x' + "aB" * 20 + '"', "checksum is wrong"),
        ('[[participants]]\nname = "c"\nnode_key = "none.pub"', r"none.pub: cannot be read"),
        ('[[participants]]\nname = "zurich"', "is there twice"),
        (
            f'[[participants]]\nname = "c"\naddress = "{HOSPITAL.address}"\n'
            f'[[participants]]\nname = "d"\naddress = "{HOSPITAL.address}"',
            f"address {HOSPITAL.address} is there twice",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    config: Config, tmp_path: Path, change: str, message: str
) -> None:
    path = config(config().read_text() + "\n" + change)
    with pytest.raises(ConfigError, match=message):
        create_federation(path, tmp_path / "out", load_examples=load_data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["federation.toml"]


def test_a_rule_of_ones_own_is_tried_before_anything_is_founded(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "founding_rules.py").write_text(
        "from fedproof import AggregationRule\n"
        "first = lambda given: given.updates[0]\n"
        "FIRST = AggregationRule(1, 'first', first, lambda f: 1, 'f = 0')\n"
    )
    monkeypatch.syspath_prepend(modules)
    path = config(config().read_text() + '\n[aggregator]\nkind = "founding_rules:FIRST"\n')
    with pytest.raises(ConfigError) as refused:
        create_federation(path, tmp_path / "out", load_examples=load_data)
    place = f"{path}: aggregator.kind: rule founding_rules:FIRST depends on the order"
    assert str(refused.value).startswith(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["federation.toml", "modules"]


def test_features_must_be_as_many_as_the_input(config: Config, tmp_path: Path) -> None:
    path = config(config().read_text().replace("shape = [3]", "shape = [4]"))
    with pytest.raises(ConfigError, match=r"3 columns, but input\.shape is \[4\]; expected \[3\]"):
        create_federation(path, tmp_path / "out", load_examples=load_data)


def test_nothing_is_ever_overwritten(heart: Path, config: Config) -> None:
    before = {p: p.read_bytes() for p in heart.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="exists already; nothing is ever overwritten"):
        create_federation(config(), heart, load_examples=load_data)
    assert {p: p.read_bytes() for p in heart.rglob("*") if p.is_file()} == before


def test_a_failure_at_the_last_step_leaves_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("no chain today")

    monkeypatch.setattr(create, "deploy_embedded", fail)
    (tmp_path / ".out.unfinished").mkdir()  # as a killed attempt leaves it
    (tmp_path / ".out.unfinished" / "key").write_text("old")
    with pytest.raises(LedgerError, match="no chain today"):
        create_federation(config(), tmp_path / "out", load_examples=load_data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["federation.toml"]


def test_agreeing_without_a_contract_is_refused_by_the_chain(founded: Founded) -> None:
    """The digest binds every agreed value: one changed word, and it is another federation."""
    agreement = founded.agreed.agreement
    changed = agreement.model_copy(update={"access": "members"})
    assert changed.digest != agreement.digest
    terms = replace(founded.agreed.deployment.terms, config_digest=changed.digest)
    assert terms != founded.agreed.deployment.terms
    elsewhere = agreement.model_copy(update={"chain_id": 1, "contract": "0x" + "11" * 20})
    assert elsewhere.digest == agreement.digest


def test_web3_is_not_needed_to_know_where_the_contract_will_be(founded: Founded) -> None:
    coordinator = founded.agreed.deployment.terms.coordinator
    assert Web3.is_checksum_address(founded.agreed.agreement.contract)
    assert deployed_at(coordinator).federation == founded.agreed.agreement.contract
