"""The operator's commands against both kinds of chain, from configuration and from options."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anvil import running_anvil
from eth_account.signers.local import LocalAccount
from http_bench import (
    CONTRIBUTORS,
    COORDINATOR,
    ETHER,
    NEWCOMER,
    UNBONDING_S,
    HttpBench,
    anvil_bench,
    embedded_bench,
    save_key,
)
from misbehaving_server import answer, misbehaving
from tls_files import TlsFiles, make_tls
from typer.testing import CliRunner

from clients.commands.session import Session
from coordinator.http.server import serve_http
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import (
    BlobCorruptError,
    ChainUnavailableError,
    ConfigError,
    KeyFileError,
    LedgerError,
    StoreError,
)
from coordinator.settings.evaluation import Evaluation
from simulations.cli import app

PASSWORD = "correct horse"


@dataclass
class Office:
    """A bench that is served, and a folder with keys and configurations."""

    bench: HttpBench
    folder: Path
    rpc: str
    url: str
    tls: TlsFiles

    def at(self, who: str = "newcomer") -> list[str]:
        return ["--config", str(self.folder / f"{who}.toml")]

    def options(self, who: str = "newcomer") -> list[str]:
        places = ["--rpc", self.rpc, "--store", self.url, "--ca", str(self.tls.ca)]
        places += ["--contract", self.bench.agreement.contract]
        key = ["--key", str(self.folder / f"{who}.json")]
        return [*places, *key, "--password-file", str(self.folder / "password")]

    def run(self, *arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, (done.stdout, done.exception)
        return json.loads(done.stdout)

    def text(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, (done.stdout, done.exception)
        return done.stdout

    def refusal(self, *arguments: str) -> BaseException:
        done = CliRunner().invoke(app, list(arguments))
        assert isinstance(done.exception, BaseException), done.stdout
        assert "\n" not in str(done.exception)
        return done.exception

    def wallet(self, who: LocalAccount) -> int:
        return self.bench.federation.rpc.quantity("eth_getBalance", who.address, "latest")

    def write_configs(self) -> None:
        folder = self.folder
        (folder / "federation.json").write_bytes(self.bench.agreement.canonical_json())
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "password").chmod(0o600)
        (folder / "ca.crt").write_bytes(self.tls.ca.read_bytes())
        people = {"newcomer": NEWCOMER, "first": CONTRIBUTORS[0], "second": CONTRIBUTORS[1]}
        for name, account in people.items():
            save_key(folder / f"{name}.json", account, PASSWORD)
            (folder / f"{name}.toml").write_text(
                f'name = "{name}"\n'
                f'[account]\nkey = "{name}.json"\npassword_file = "password"\n'
                f'[coordinator]\nrpc = "{self.rpc}"\nstore = "{self.url}"\n'
                'superlink = "127.0.0.1:9092"\nca = "ca.crt"\n'
                '[stake]\nbond_wei = "1.5 ether"\n'
            )
        save_key(folder / "coordinator.json", COORDINATOR, PASSWORD)
        port = self.url.rsplit(":", 1)[1]
        chain = "" if self.rpc.startswith(self.url) else f'rpc = "{self.rpc}"\n'
        (folder / "coordinator.toml").write_text(
            'format = "fedproof-coordinator-1"\n'
            '[account]\nkey = "coordinator.json"\npassword_file = "password"\n'
            f"[chain]\n{chain}"
            f'[http]\nport = {port}\ncertificate = "server.crt"\nkey = "server.key"\n'
            '[flower]\nca = "ca.crt"\n'
        )


def office_of(
    stack: ExitStack, folder: Path, kind: str, evaluation: Evaluation | None = None
) -> Office:
    tls = make_tls(folder / "tls")
    rpc = ""
    if kind == "anvil":
        rpc = stack.enter_context(running_anvil())
        bench = stack.enter_context(anvil_bench(rpc, folder))
    else:
        bench = stack.enter_context(embedded_bench(folder, evaluation=evaluation))
    context = bench.context()
    handle = stack.enter_context(serve_http(context, certfile=tls.certificate, keyfile=tls.key))
    office = Office(bench, folder, rpc or f"{handle.url}/rpc", handle.url, tls)
    office.write_configs()
    return office


@pytest.fixture(params=["embedded", "anvil"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    with ExitStack() as stack:
        yield office_of(stack, tmp_path, request.param)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One office on the embedded chain for what changes nothing: two rounds, a third open."""
    with ExitStack() as stack:
        made = office_of(stack, tmp_path_factory.mktemp("desk"), "embedded")
        made.bench.play()
        made.bench.play()
        made.bench.begin()
        yield made


def test_a_participants_life(office: Office) -> None:
    """Join, take part, claim, leave, wait, withdraw: every wei accounted for."""
    bench, at = office.bench, office.at()
    start = office.wallet(NEWCOMER)
    fees = 0

    joined = office.run("join", *at)
    assert joined["bonded_wei"] == joined["bond_wei"] == str(3 * ETHER // 2)
    assert joined["account"] == NEWCOMER.address
    fees += int(joined["fee_wei"])
    receipt = bench.federation.rpc.request("eth_getTransactionReceipt", joined["transaction"])
    assert int(receipt["blockNumber"], 16) == joined["block"]
    assert int(receipt["gasUsed"], 16) == joined["gas_used"]
    again = office.run("join", *at)
    assert (again["transaction"], again["bonded_wei"]) == (None, "0")
    more = office.run("join", *at, "--stake", "0.5 ether")
    assert more["bond_wei"] == str(2 * ETHER)
    fees += int(more["fee_wei"])

    bench.open = bench.service.open_round()
    for account, examples in ((NEWCOMER, 10), (CONTRIBUTORS[1], 20)):
        bench.submit(account, value=examples, examples=examples)
    assert bench.service.close_round().status == "sealed"
    assert office.run("balance", *at)["unclaimed_wei"] == str(ETHER)
    claimed = office.run("claim", *at)
    assert claimed["claimed_wei"] == claimed["cumulative_wei"] == str(ETHER)
    fees += int(claimed["fee_wei"])
    nothing = office.run("claim", *at)
    assert (nothing["transaction"], nothing["claimed_wei"]) == (None, "0")

    left = office.run("leave", *at)
    assert left["unbonding_wei"] == str(2 * ETHER)
    fees += int(left["fee_wei"])
    left_at = bench.federation.block(left["block"]).timestamp
    assert left["matures_at"] == left_at + UNBONDING_S
    assert isinstance(office.refusal("leave", *at), LedgerError)
    early = office.refusal("withdraw", *at)
    assert isinstance(early, LedgerError)
    assert "2 ETH (2000000000000000000 wei) are unbonding until" in str(early)

    bench.pass_time(UNBONDING_S)
    assert "free now" in office.text("balance", *at)
    took = office.run("withdraw", *at)
    assert (took["withdrawn_wei"], took["what"]) == (str(2 * ETHER), "unbonded funds")
    fees += int(took["fee_wei"])
    assert office.wallet(NEWCOMER) == start + ETHER - fees
    assert "has nothing unbonding" in str(office.refusal("withdraw", *at))


@pytest.fixture(scope="module")
def elsewhere(session: Office) -> Iterator[tuple[str, TlsFiles]]:
    """The same chain at a node whose certificate is under another authority."""
    other = make_tls(session.folder / "elsewhere", authority="another authority")
    context = session.bench.context()
    with serve_http(context, certfile=other.certificate, keyfile=other.key) as handle:
        yield f"{handle.url}/rpc", other


def changed(session: Office, name: str, *changes: tuple[str, str]) -> list[str]:
    text = (session.folder / f"{name}.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (session.folder / "changed.toml").write_text(text)
    return ["--config", str(session.folder / "changed.toml")]


def test_the_coordinators_authority_vouches_for_no_other_node(
    session: Office, elsewhere: tuple[str, TlsFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc, other = elsewhere
    at = changed(session, "first", (session.rpc, rpc))
    assert "certificate" in str(session.refusal("balance", *at))
    monkeypatch.setenv("SSL_CERT_FILE", str(other.ca))  # what the system trusts
    earned = session.run("balance", *session.at("first"))
    assert int(earned["unclaimed_wei"]) > 0
    assert session.run("balance", *at) == earned
    assert session.run("balance", *session.at("first"), "--rpc", rpc) == earned
    refused = session.refusal(
        "balance", *session.at("first"), "--rpc", rpc, "--ca", str(session.tls.ca)
    )
    assert "certificate" in str(refused)


def test_a_coordinator_on_another_chain_has_an_authority_for_each(
    session: Office, elsewhere: tuple[str, TlsFiles]
) -> None:
    rpc, other = elsewhere
    section = f'[chain]\nrpc = "{rpc}"\nca = "{other.ca}"\n'
    at = changed(session, "coordinator", ("[chain]\n", section))
    who = ["--key", str(session.folder / "first.json")]
    assert session.run("balance", *at, *who) == session.run(
        "balance", *session.at("coordinator"), *who
    )
    back = session.run("balance", *at, *who, "--rpc", session.rpc)
    assert back == session.run("balance", *session.at("coordinator"), *who)


def test_the_coordinators_bond_and_pool(office: Office) -> None:
    at = office.at("coordinator")
    funded = office.run("fund", "2 ether", *at)
    assert funded["pool_wei"] == str(32 * ETHER)
    assert office.run("join", *at)["transaction"] is None  # five ether are bonded already
    assert office.run("join", *at, "--stake", "1 ether")["bond_wei"] == str(6 * ETHER)
    office.bench.play()
    assert office.run("leave", *at)["unbonding_wei"] == str(6 * ETHER)
    office.bench.pass_time(UNBONDING_S)
    assert office.run("withdraw", *at)["withdrawn_wei"] == str(6 * ETHER)
    assert office.run("status", *at)["coordinator_bond_wei"] == "0"


class Patience:
    """In place of ``time.sleep``: what happens while a command waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Callable[[], object]) -> None:
        self.left = list(events)
        monkeypatch.setattr("clients.commands.waiting.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.left.pop(0)()


def test_a_command_waits_until_the_contract_takes_what_it_sends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator's leave for its rounds, withdraw for the unbonding period."""
    bench, at = office.bench, office.at("coordinator")
    bench.begin()
    assert "still live" in str(office.refusal("leave", *at))
    patience = Patience(monkeypatch, lambda: None, bench.service.close_round)
    done = CliRunner().invoke(app, ["leave", *at, "--wait", "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["unbonding_wei"] == str(5 * ETHER)
    assert done.stderr.splitlines() == ["waiting: round 1 is open"]
    assert patience.left == []

    down = ChainUnavailableError("no node at all")
    now, answers = Session.now, [down]

    def answer_or_fail(self: Session) -> int:
        if answers:
            raise answers.pop()
        return now(self)

    monkeypatch.setattr(Session, "now", answer_or_fail)
    patience = Patience(monkeypatch, lambda: None, lambda: bench.pass_time(UNBONDING_S))
    done = CliRunner().invoke(app, ["withdraw", *at, "--wait", "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["withdrawn_wei"] == str(5 * ETHER)
    first, second = done.stderr.splitlines()
    assert first == "waiting: no node at all"
    assert "5 ETH (5000000000000000000 wei) are unbonding until" in second
    assert patience.left == []
    assert "has nothing unbonding" in str(office.refusal("withdraw", *at, "--wait"))


def test_bounties_are_taken_out_too(office: Office) -> None:
    """An equivocation brings its prover half of what is cut, and withdraw pays it out."""
    bench = office.bench
    bench.begin()
    with pytest.raises(EquivocationError, match="signed two updates"):
        bench.submit(CONTRIBUTORS[0], value=9999, examples=10)
    bench.service.close_round()
    at = office.at("coordinator")
    balance = office.run("balance", *at)
    assert balance["bounties_wei"] == str(ETHER // 2)  # half of half of two ether
    took = office.run("withdraw", *at)
    assert (took["withdrawn_wei"], took["what"]) == (str(ETHER // 2), "bounties")
    assert office.run("balance", *at)["bounties_wei"] == "0"


def test_a_round_becomes_final_between_proof_and_claim(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    import clients.commands.money as operate

    office.bench.play()
    looked = []
    earnings = operate.earnings

    def slow(*arguments: Any) -> Any:
        found = earnings(*arguments)
        if not looked:
            looked.append(found)
            office.bench.play()  # the proof leads to a root that is not the last any more
        return found

    monkeypatch.setattr(operate, "earnings", slow)
    claimed = office.run("claim", *office.at("first"))
    assert looked[0].cumulative_wei == ETHER // 2
    assert claimed["claimed_wei"] == str(ETHER)


class TestLooking:
    def test_status(self, session: Office) -> None:
        session.bench.snapshot = ServiceSnapshot("collecting", 3, ("0xA", "0xB"))
        said = session.run("status", *session.at())
        head = session.bench.federation.block()
        assert (said["block"], said["block_hash"]) == (head.number, "0x" + head.hash.hex())
        assert (said["open_round"], said["last_sealed"], said["last_final"]) == (3, 2, 2)
        assert (said["members"], said["bonded"]) == (3, 3)
        assert said["bonded_wei"] == str(6 * ETHER)
        assert said["pool_wei"] == str(24 * ETHER)
        assert said["coordinator"] == COORDINATOR.address
        assert said["coordinator_bond_wei"] == str(5 * ETHER)
        assert said["service"]["phase"] == "collecting"
        text = session.text("status", *session.at())
        assert "bench, contract 0x" in text
        assert "round 3 is open; sealed up to 2, final up to 2" in text
        assert "24 ETH (24000000000000000000 wei), at most 3 ETH" in text
        assert "collecting, 2 contributors online, ready" in text
        session.bench.snapshot = ServiceSnapshot(
            "collecting", 3, ("0xA", "0xB"), out_of_step=("0xB",)
        )
        text = session.text("status", *session.at())
        assert "collecting, 2 contributors online (1 one round late: 0xB), ready" in text

    def test_status_without_the_service(self, session: Office) -> None:
        bare = [*session.options()[:2], "--ca", str(session.tls.ca)]
        bare += ["--contract", session.bench.agreement.contract]
        assert session.run("status", *bare)["service"] is None
        assert "not asked" in session.text("status", *bare)
        with misbehaving([answer(b"{}", 500)]) as server:
            at = [*bare, "--store", server.url]
            assert session.run("status", *at)["service"] == {
                "error": f"{server.url}/status: status 500"
            }
            assert "does not answer" in session.text("status", *at)

    def test_rounds(self, session: Office) -> None:
        said = session.run("rounds", *session.at())
        assert [(r["round"], r["status"]) for r in said["rounds"]] == [
            (1, "final"), (2, "final"), (3, "open"),
        ]  # fmt: skip
        first = said["rounds"][0]
        assert (first["contributors"], first["examples"], first["score"]) == (3, 60, 60)
        assert (first["paid_wei"], first["stake_wei"]) == (str(3 * ETHER), str(6 * ETHER))
        assert first["model_root"] == session.bench.round(1).new_model_root.hex()
        assert said["rounds"][2]["model_root"] == ""
        last = session.run("rounds", *session.at(), "--last", "1")
        assert [r["round"] for r in last["rounds"]] == [3]
        lines = session.text("rounds", *session.at()).splitlines()
        assert lines[0].split() == [
            "round", "status", "opened", "n", "examples", "score", "paid", "model", "why",
        ]  # fmt: skip
        assert lines[1].split()[:2] == ["1", "final"]
        assert first["model_root"][:12] in lines[1]

    def test_evaluations(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            office = office_of(stack, tmp_path, "embedded", Evaluation())
            office.bench.play()
            office.bench.play()
            said = office.run("rounds", *office.at())
            assert [r["evaluation"] for r in said["rounds"]] == [None, None]
            assert "no model was evaluated yet" in office.text("status", *office.at())
            assert "claim" not in office.text("rounds", *office.at())
            made = office.bench.evaluate(1, 0.5, 0.75)
            said = office.run("rounds", *office.at())
            assert [r["evaluation"] for r in said["rounds"]] == [made.as_json(), None]
            lines = office.text("rounds", *office.at()).splitlines()
            assert lines[0].split()[7:] == ["accuracy", "loss", "public", "model", "why"]
            assert lines[1].split()[-4:-1] == ["62.5%", "1.25", "75.0%"]
            assert "%" not in lines[2]
            assert lines[3].startswith("accuracy and loss are what participants claim")
            assert lines[4].startswith("public is the share of the agreed public set")
            line = "round 1: accuracy 62.5%, loss 1.25, claimed by 2 of 3 participants; 75.0% of "
            assert f"evaluation   {line}" in office.text("status", *office.at())
            assert office.run("status", *office.at())["service"]["evaluation"] == made.as_json()
            # by options, without an agreement at hand, the coordinator is asked
            assert "62.5%" in office.text("rounds", *office.options())

    def test_an_evaluation_of_another_model_than_the_chains_is_not_shown(
        self, tmp_path: Path
    ) -> None:
        with ExitStack() as stack:
            office = office_of(stack, tmp_path, "embedded", Evaluation())
            office.bench.play()
            office.bench.evaluate(2, 0.5)  # of no round: its root is of zeros
            assert office.bench.evaluations is not None
            other = office.bench.evaluations.root / "000001.json"
            (office.bench.evaluations.root / "000002.json").rename(other)
            said = office.run("rounds", *office.at())
            assert [r["evaluation"] for r in said["rounds"]] == [None]

    def test_what_is_no_evaluation_is_not_shown(self, session: Office, tmp_path: Path) -> None:
        bare = [*session.options()[:2], "--ca", str(session.tls.ca)]
        bare += ["--contract", session.bench.agreement.contract]
        for body in (b"[]", b"{}", b'{"evaluations": [1]}', b"\xff", b'{"evaluations": {}}'):
            with misbehaving([answer(body, 200)]) as server:
                text = session.text("rounds", *bare, "--store", server.url)
            assert "accuracy" not in text

    def test_contributors(self, session: Office) -> None:
        said = session.run("contributors", *session.at())
        assert [c["address"] for c in said["contributors"]] == [c.address for c in CONTRIBUTORS]
        assert [c["earned_wei"] for c in said["contributors"]] == [
            str(n * ETHER) for n in (1, 2, 3)
        ]
        assert said["contributors"][0]["bond_wei"] == str(2 * ETHER)
        text = session.text("contributors", *session.at(), "--bonded")
        assert all(account.address in text for account in CONTRIBUTORS)
        bare = [*session.options()[:2], "--ca", str(session.tls.ca)]
        bare += ["--contract", session.bench.agreement.contract]
        assert session.run("contributors", *bare)["contributors"][0]["earned_wei"] is None

    def test_balance_needs_no_password(self, session: Office) -> None:
        options = session.options("second")[:-2]
        said = session.run("balance", *options)
        assert said["account"] == CONTRIBUTORS[1].address
        assert (said["member"], said["unclaimed_wei"]) == (2, str(2 * ETHER))
        assert said["wallet_wei"] == str(session.wallet(CONTRIBUTORS[1]))
        text = session.text("balance", *options)
        assert "bond       2 ETH (2000000000000000000 wei)" in text
        assert "unclaimed  2 ETH (2000000000000000000 wei)" in text

    def test_nobody_and_nothing_yet(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            office = office_of(stack, tmp_path, "embedded")
            assert "no round has been opened yet" in office.text("rounds", *office.at())
            assert office.run("claim", *office.at())["transaction"] is None


class TestStores:
    def test_the_wallet_is_shown_even_if_the_store_is_away(self, session: Office) -> None:
        at = session.options("first")
        at[at.index("--store") + 1] = str(session.folder / "nowhere")
        assert isinstance(session.refusal("balance", *at), ConfigError)
        with misbehaving([answer(b"{}", 500)]) as server:
            at[at.index("--store") + 1] = server.url
            done = CliRunner().invoke(app, ["balance", *at])
            assert isinstance(done.exception, StoreError)
            assert "wallet     " in done.stdout
            assert "unclaimed  unknown" in done.stdout

    def test_wrong_rewards_are_not_claimed(self, session: Office) -> None:
        sent = session.bench.federation.rpc.quantity(
            "eth_getTransactionCount", CONTRIBUTORS[0].address, "latest"
        )
        lie = b'{"rewards":[["%s","999"]]}' % CONTRIBUTORS[0].address.encode()
        with misbehaving([answer(lie)]) as server:
            at = session.options("first")
            at[at.index("--store") + 1] = server.url
            assert isinstance(session.refusal("claim", *at), BlobCorruptError)
        count = session.bench.federation.rpc.quantity(
            "eth_getTransactionCount", CONTRIBUTORS[0].address, "latest"
        )
        assert count == sent


class TestBadInput:
    @pytest.mark.parametrize(
        ("stake", "message"),
        [
            ("lots", "expected integer wei or text like"),
            ("0", "expected more than 0"),
            ("-1 ether", "expected integer wei or text like"),
            ("1.5 wei", "expected a whole number of wei"),
            ("99999999999 ether", "at most"),
            ("0.5 ether", "below the contract's minimum, 1 ETH"),
        ],
    )
    def test_stakes(self, session: Office, stake: str, message: str) -> None:
        error = session.refusal("join", *session.at(), "--stake", stake)
        assert isinstance(error, ConfigError)
        assert message in str(error)

    def test_more_than_there_is(self, session: Office) -> None:
        error = session.refusal("join", *session.at(), "--stake", "1000 ether")
        assert isinstance(error, LedgerError)
        assert f"{NEWCOMER.address} has 100 ETH (" in str(error)
        assert "send it 900." in str(error)

    def test_keys(self, session: Office, tmp_path: Path) -> None:
        wrong = tmp_path / "password"
        wrong.write_text("wrong\n")
        wrong.chmod(0o600)
        at = session.options()
        assert isinstance(session.refusal("join", *at[:-1], str(wrong)), KeyFileError)
        open_to_all = tmp_path / "open.json"
        open_to_all.write_bytes((session.folder / "newcomer.json").read_bytes())
        open_to_all.chmod(0o644)
        found = session.refusal("join", *at, "--key", str(open_to_all))
        assert isinstance(found, KeyFileError)
        assert "expected 0600" in str(found)
        no_key = [*at[:6], *at[6:8]]
        assert "give --key FILE" in str(session.refusal("join", *no_key))
        assert "give --key FILE" in str(session.refusal("balance", *no_key))

    def test_places(self, session: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert "give --rpc URL, or --config" in str(session.refusal("status"))
        missing = session.refusal("status", "--config", "nothing.toml")
        assert "nothing.toml: cannot be read" in str(missing)
        (tmp_path / "bad.toml").write_text('[account]\nkey = "k"\nkee = 1\n')
        assert "bad.toml" in str(session.refusal("status", "--config", "bad.toml"))
        at = session.options()
        no_contract = [*at[:2], "--ca", str(session.tls.ca)]
        assert "give --contract ADDRESS" in str(session.refusal("status", *no_contract))
        assert session.run("status", *at[:6])["contract"] == session.bench.agreement.contract
        for option, value, kind in (
            ("--contract", "0x12", ConfigError),
            ("--contract", "0x" + "11" * 20, LedgerError),
            ("--rpc", "http://127.0.0.1:1", LedgerError),
            ("--rpc", "nonsense", ConfigError),
            ("--ca", str(tmp_path / "none"), ConfigError),
        ):
            error = session.refusal("status", *at, option, value)
            assert isinstance(error, kind), (option, value, error)

    def test_the_folder_one_is_in(self, session: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        (session.folder / "participant.toml").write_bytes(
            (session.folder / "first.toml").read_bytes()
        )
        monkeypatch.chdir(session.folder)
        assert session.run("balance")["account"] == CONTRIBUTORS[0].address

    def test_another_federations_agreement(self, session: Office, tmp_path: Path) -> None:
        for name in ("newcomer.json", "password", "ca.crt", "newcomer.toml"):
            (tmp_path / name).write_bytes((session.folder / name).read_bytes())
        for change, message in (
            ({"round_duration_s": 60}, "was deployed for agreement"),
            ({"chain_id": 7}, "is on chain 7"),
            ({"contract": "0x" + "22" * 20}, "there is no contract at"),
        ):
            other = session.bench.agreement.model_copy(update=change)
            (tmp_path / "federation.json").write_bytes(other.canonical_json())
            error = session.refusal("balance", "--config", str(tmp_path / "newcomer.toml"))
            assert message in str(error)

    def test_roles(self, session: Office) -> None:
        nothing = session.refusal("leave", *session.at())
        assert isinstance(nothing, LedgerError)
        assert "has no bond: there is nothing to unbond" in str(nothing)
        bonded = session.refusal("withdraw", *session.at("first"))
        assert "2 ETH (2000000000000000000 wei) are bonded (fedproof leave)" in str(bonded)
