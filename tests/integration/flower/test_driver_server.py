"""Rounds driven over the socket come out as rounds driven directly; a zombie drives none."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from memory_ledger import MemoryJournal, MemoryLedger, MemoryStore
from service_bench import CONTRIBUTORS, EXPERIMENT, INITIAL, MANIFEST, Bench, rule, vector

from coordinator.flower.driver_client import DriverClient
from coordinator.flower.driver_server import Beat, DriverServer, Lease
from coordinator.local.channel import ChannelServer
from coordinator.local.frames import ChannelClosedError
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ContributorError, PhaseError, StoreError
from coordinator.protocol.types import Address, Presence, Signed, SigningDomain, Wei
from coordinator.service.round_service import RoundService
from simulations.run.identities import identities_of, private_key


@dataclass
class ScriptedConductor:
    """Says what it was told to say, and remembers what it heard."""

    beats: list[Beat] = field(default_factory=lambda: [Beat(complete=False, cohort=[7, 9])])
    heard: list[Sequence[int]] = field(default_factory=list)
    greeted: list[Signed[Presence]] = field(default_factory=list)
    waited: int = 0

    def beat(self, nodes: Sequence[int]) -> Beat:
        self.heard.append(nodes)
        return self.beats[-1]

    def greet(self, signed: Signed[Presence]) -> None:
        if signed.signer == "0xstranger":
            raise ContributorError("presence: not this node", code="wrong-node")
        self.greeted.append(signed)

    def wait_until_sealable(self) -> None:
        self.waited += 1


@dataclass
class Office:
    """A service behind a desk behind a socket."""

    bench: Bench
    service: RoundService
    scheduler: ScriptedConductor
    session: DriverServer
    server: ChannelServer
    gone: list[Lease]
    said: list[tuple[str, str]]
    detached: threading.Event

    def driver(self, token: str, run_id: int = 1) -> DriverClient:
        return DriverClient(self.server.path, token, run_id)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    identities = identities_of(EXPERIMENT)
    keys = [private_key(EXPERIMENT.seed, f"contributor {i}") for i in range(CONTRIBUTORS)]
    bonds = {Address(a): Wei(10**18) for a in identities.addresses}
    domain = SigningDomain(1337, Address(identities.coordinator.address))
    root = parameter_root(INITIAL, MANIFEST)
    ledger = MemoryLedger(root, bonds, domain, Wei(1000), Wei(9000), min_contributors=2)
    bench = Bench(ledger, MemoryStore(), MemoryJournal(), keys)
    scheduler, gone, detached = ScriptedConductor(), [], threading.Event()
    said: list[tuple[str, str]] = []
    service = bench.service(rule())

    def left(lease: Lease) -> None:
        gone.append(lease)
        detached.set()

    lock = threading.RLock()
    hello = {"presence_s": 2.0}
    session = DriverServer(
        service,
        scheduler,
        lock,
        MANIFEST.dimension,
        hello,
        left,
        lambda what, why: said.append((what, why)),
    )
    path = tmp_path / "s.sock"
    with ChannelServer(path, session.handlers(), session.limits, session.disconnected) as server:
        yield Office(bench, service, scheduler, session, server, gone, said, detached)


def test_a_round_over_the_socket_is_the_round_itself(office: Office):
    with office.driver(office.session.new_token()) as driver:
        assert driver.hello == {"presence_s": 2.0, "lease": 1, "dimension": 17}
        told = driver.open_round()
        assert (told.round_id, told.manifest, told.sealed) == (1, MANIFEST, False)
        assert told.deadline == office.bench.ledger.round(told.round_id).deadline
        np.testing.assert_array_equal(told.model, INITIAL)
        driver.submit(*office.bench.signed(0, told, vector(10)))
        driver.submit(*office.bench.signed(1, told, vector(30)))
        driver.submit(*office.bench.signed(1, told, vector(30)))
        with pytest.raises(ContributorError, match="expected") as refused:
            driver.submit(*office.bench.signed(2, told, vector(1), examples=1 << 50))
        driver.refuse("node 9", ContributorError("reply: empty", code="empty-reply"))
        outcome = driver.close_round()
    assert refused.value.code == "examples-out-of-range"
    assert (outcome.status, outcome.round_id, len(outcome.accepted)) == ("sealed", 1, 2)
    np.testing.assert_array_equal(outcome.model, INITIAL + 20)
    assert outcome.model_root == office.bench.ledger.head().model_root
    assert sorted(r.code for r in outcome.refusals) == ["empty-reply", "examples-out-of-range"]
    assert outcome.metrics[outcome.accepted[0]] == {"loss": 0.5, "num-examples": 10}
    assert office.scheduler.waited == 1


def test_an_instruction_is_signed_by_the_service_whose_key_it_is(office: Office):
    with office.driver(office.session.new_token()) as driver:
        told = driver.open_round()
        content = {"config": {"lr": 0.1, "text": "\u2028"}}
        signed = driver.sign_instruction(told.round_id, "train", content)
        again = office.service.sign_instruction(told.round_id, "train", {"config": {}})
        assert signed == again
        assert signed.content == content
        statement = signed.signed.statement
        assert (statement.base_model, statement.deadline) == (told.model_root, told.deadline)
        good = {"round": 1, "phase": "train", "content": content}
        for wrong in ({"phase": "trains"}, {"phase": 1}, {"content": None}, {"round": "1"}):
            with pytest.raises(PhaseError, match="sign_instruction: expected a round, a phase of"):
                driver._call("sign_instruction", {**good, **wrong})
        with pytest.raises(PhaseError, match="round 1 is open: nothing to evaluate"):
            driver.sign_instruction(told.round_id, "evaluate", content)


def test_a_refused_presence_is_in_the_services_log(office: Office, caplog):
    with office.driver(office.session.new_token()) as driver:
        driver.refuse_presence(
            9, ContributorError("presence: bad-signature" + "!" * 1_000, code="x")
        )
    (record,) = [r for r in caplog.records if "whom it speaks for" in r.getMessage()]
    assert record.name == "fedproof.coordinator"
    assert record.levelname == "WARNING"
    assert "presence: bad-signature!" in record.getMessage()
    assert len(record.getMessage()) < 400


def test_a_void_round_says_why(office: Office):
    with office.driver(office.session.new_token()) as driver:
        driver.open_round()
        outcome = driver.close_round()
    assert (outcome.status, outcome.reason) == ("void", "too few updates: 0 of 2")


def test_what_an_update_is_not_is_refused_by_name(office: Office):
    with office.driver(office.session.new_token()) as driver:
        told = driver.open_round()
        signed, values, metrics = office.bench.signed(0, told, vector(1))
        with pytest.raises(ContributorError) as refused:
            driver.submit(signed, values[:5], metrics)
        assert (refused.value.code, refused.value.expected) == ("wrong-size", "[68]")
        with pytest.raises(ContributorError) as refused:
            driver.submit(signed, values, {**metrics, "loss": 0.25})
        assert refused.value.code == "wrong-metrics"


def test_an_update_too_large_to_receive_ends_its_connection(office: Office):
    with office.driver(office.session.new_token()) as driver:
        told = driver.open_round()
        signed, _values, metrics = office.bench.signed(0, told, vector(1))
        with pytest.raises(ChannelClosedError):
            driver.submit(signed, np.zeros(10_000, np.int32), metrics)
    assert office.detached.wait(10)


def test_beats_and_greetings_reach_the_conductor(office: Office):
    with office.driver(office.session.new_token()) as driver:
        assert driver.beat([9, 7, 2**63]) == {
            "complete": False,
            "cohort": [7, 9],
            "strangers": [],
            "seconds_left": 0.0,
            "missing": 0,
        }
        said = Signed(Address("0xmember"), Presence(2**63, 10), b"\1" * 65)
        driver.greet(said)
        with pytest.raises(ContributorError, match="not this node"):
            driver.greet(Signed(Address("0xstranger"), Presence(5, 10), b""))
    assert office.scheduler.heard == [[9, 7, 2**63]]
    assert office.scheduler.greeted == [said]


def test_only_the_current_run_may_attach_and_only_once(office: Office):
    with pytest.raises(PhaseError, match="not the current one"):
        office.driver("")
    old = office.session.new_token()
    token = office.session.new_token()
    with pytest.raises(PhaseError, match="not the current one"):
        office.driver(old)
    with office.driver(token), pytest.raises(PhaseError, match="not the current one"):
        office.driver(token)


def test_the_server_app_of_an_earlier_run_can_close_nothing(office: Office):
    zombie = office.driver(office.session.new_token(), run_id=1)
    told = zombie.open_round()
    zombie.submit(*office.bench.signed(0, told, vector(10)))
    zombie.submit(*office.bench.signed(1, told, vector(10)))
    with office.driver(office.session.new_token(), run_id=2) as driver:
        assert office.session.lease is not None
        assert office.session.lease.run_id == 2
        for call in (zombie.open_round, zombie.close_round, lambda: zombie.beat([])):
            with pytest.raises(PhaseError, match="another ServerApp drives now"):
                call()
        again = driver.open_round()
        assert again.round_id == told.round_id
        zombie.close()
        driver.submit(*office.bench.signed(2, again, vector(10)))
        driver.submit(*office.bench.signed(3, again, vector(10)))
        outcome = driver.close_round()
    assert outcome.status == "sealed"
    assert office.detached.wait(10)
    assert [lease.run_id for lease in office.gone] == [2]


def test_a_full_disk_fails_a_call_and_the_round_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    with office.driver(office.session.new_token()) as driver:
        told = driver.open_round()
        for client in (0, 1):
            driver.submit(*office.bench.signed(client, told, vector(10)))

        def full() -> None:
            raise StoreError("disk full")

        with monkeypatch.context() as disk:
            disk.setattr(office.bench.store, "sync", full)
            with pytest.raises(StoreError, match="disk full"):
                driver.close_round()
        again = driver.open_round()
        assert (again.round_id, again.deadline) == (told.round_id, told.deadline)
        for client in (0, 1):
            driver.submit(*office.bench.signed(client, again, vector(10)))
        outcome = driver.close_round()
    assert (outcome.status, outcome.round_id) == ("sealed", 1)
    told = [why for what, why in office.said if what == "rounds"]
    assert told == ["", "close_round: disk full", "", ""]
