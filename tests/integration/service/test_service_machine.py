"""The service takes the machine along every row of its table, and carries out every effect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest
from gavel_bench import DisputedBench, memory_bench
from memory_ledger import MemoryLedger
from service_bench import round_status, rule, salt, vector

from coordinator.protocol.errors import AggregationError, ContributorError
from coordinator.protocol.round import machine
from coordinator.protocol.types import RoundId, RoundInput
from coordinator.service import round_runner
from coordinator.service.round_service import RoundService

Taken = tuple[machine.Phase, type[Any], machine.Phase]


@dataclass
class Record:
    """What machines and runners did in a test."""

    taken: list[Taken] = field(default_factory=list)
    carried_out: list[type[Any]] = field(default_factory=list)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    record = Record()
    honest, carry_out = machine.transition, round_runner.RoundRunner.carry_out

    def transition(state: machine.RoundState, event: machine.Event) -> machine.Step:
        step = honest(state, event)
        record.taken.append((state.phase, type(event), step[0].phase))
        return step

    def carrying_out(self: round_runner.RoundRunner, effect: machine.Effect) -> None:
        record.carried_out.append(type(effect))
        carry_out(self, effect)

    monkeypatch.setattr(machine, "transition", transition)
    monkeypatch.setattr(round_runner.RoundRunner, "carry_out", carrying_out)
    return record


@pytest.fixture
def bench() -> DisputedBench:
    return memory_bench()


def ledger_of(bench: DisputedBench) -> MemoryLedger:
    assert isinstance(bench.ledger, MemoryLedger)
    return bench.ledger


def collect(bench: DisputedBench, service: RoundService, clients: int = 3) -> None:
    announced = service.open_round()
    for client in range(clients):
        service.submit(*bench.signed(client, announced, vector(client + 1)))


def before(bench: DisputedBench, step: str, deed: Callable[[], None]) -> None:
    """Do something once, the moment before the ledger takes the next call of a kind."""
    honest, pending = getattr(bench.ledger, step), [deed]

    def interrupted(*arguments: object, **named: object) -> None:
        while pending:
            pending.pop()()
        honest(*arguments, **named)

    setattr(bench.ledger, step, interrupted)


# --- the rounds of which one or another row is --------------------------------------------------


def plain_round(bench: DisputedBench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    for client in range(3):
        service.submit(*bench.signed(client, announced, vector(1)))
    with pytest.raises(ContributorError):
        service.submit(*bench.signed(2, announced, vector(9)))
    service.refuse("node 7", ValueError("no records"))
    assert service.close_round().status == "sealed"
    assert len(ledger_of(bench).slashed) == 1
    ledger_of(bench).time += 1000
    service.finalize_ready()
    assert (round_status(bench, 1), service.state.phase) == ("final", machine.Phase.FINAL)


def sealed_round(bench: DisputedBench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = service.open_round()
    for client in range(3):
        service.commit(bench.commitment(client, announced, vector(client)))
    with pytest.raises(ContributorError):
        service.commit(bench.commitment(2, announced, vector(9)))
    service.refuse("node 7", ValueError("no records"))
    assert service.close_commitments() is not None
    for client in range(2):
        service.submit(*bench.signed(client, announced, vector(client)), salt(client))
    assert service.close_round().status == "sealed"


def too_few_commitments(bench: DisputedBench) -> None:
    service = bench.service(rule(), sealed=True)
    service.open_round()
    assert service.close_commitments() is None
    assert round_status(bench, 1) == "void"


def too_few_updates(bench: DisputedBench) -> None:
    service = bench.service(rule())
    collect(bench, service, 1)
    assert service.close_round().reason == "too few updates: 1 of 2"
    assert round_status(bench, 1) == "void"


def failed_aggregation(bench: DisputedBench) -> None:
    def fail(_result: RoundInput) -> RoundInput:
        raise AggregationError("overflow")

    service = bench.service(rule())
    service.drafted_result = fail  # type: ignore[method-assign]
    collect(bench, service)
    assert service.close_round().reason == "overflow"


def convicted_below(step: str) -> Callable[[DisputedBench], None]:
    """Play a round that becomes void, with the one below it, at one step of its way."""

    def play(bench: DisputedBench) -> None:
        service = bench.service(rule(), sealed=step == "gathering")
        if step == "gathering":
            sealed_round(bench)
            announced = service.open_round()
            for client in range(2):
                service.commit(bench.commitment(client, announced, vector(client)))
            bench.convict(1, "fraud")
            assert service.close_commitments() is None
        else:
            collect(bench, service)
            service.close_round()
            collect(bench, service)
            if step == "collecting":
                bench.convict(1, "fraud")
            else:
                before(bench, step, lambda: bench.convict(1, "fraud"))
        outcome = service.close_round()
        assert (outcome.status, outcome.reason) == ("void", "stands on round 1: fraud")
        assert bench.journal.get(RoundId(2))["status"] == "void"

    return play


def convicted_at_the_last_second(bench: DisputedBench) -> None:
    service = bench.service(rule())
    collect(bench, service)
    service.close_round()
    ledger_of(bench).time += 1000
    before(bench, "finalize_round", lambda: bench.convict(1, "fraud"))
    service.finalize_ready()
    assert (round_status(bench, 1), service.state.phase) == ("void", machine.Phase.VOID)


def held_at_the_last_second(bench: DisputedBench) -> None:
    service, ledger = bench.service(rule()), ledger_of(bench)
    collect(bench, service)
    service.close_round()
    ledger.time += 1000
    held_until = ledger.time + 50

    def hold() -> None:
        ledger.rounds[1] = replace(ledger.rounds[1], finalizable_at=held_until)

    before(bench, "finalize_round", hold)
    service.finalize_ready()
    assert round_status(bench, 1) == "settled"
    ledger.time = held_until
    service.finalize_ready()
    assert round_status(bench, 1) == "final"


ROUNDS = [
    plain_round,
    sealed_round,
    too_few_commitments,
    too_few_updates,
    failed_aggregation,
    *(convicted_below(s) for s in ("gathering", "collecting", "seal_round", "settle_round")),
    convicted_at_the_last_second,
    held_at_the_last_second,
]


def test_every_row_is_taken_and_every_effect_carried_out(record: Record) -> None:
    for play in ROUNDS:
        play(memory_bench())
    rows = {(row.phase, row.event, row.next_phase) for row in machine.TABLE}
    assert set(record.taken) == rows
    assert set(record.carried_out) == set(get_args(machine.Effect))


def test_scores_are_computed_when_the_machine_asks_for_scores(
    bench: DisputedBench, record: Record
) -> None:
    """Settling only commits: what it commits to is durable before the machine says Scored."""
    service = bench.service(rule())
    seen: list[machine.Phase] = []
    honest = bench.store.put_document

    def put(kind: str, name: bytes, document: dict[str, Any]) -> None:
        if kind in ("scores", "rewards"):
            seen.append(service.state.phase)
        honest(kind, name, document)

    bench.store.put_document = put  # type: ignore[method-assign]
    collect(bench, service)
    service.close_round()
    assert seen == [machine.Phase.SCORING] * 2


def test_rounds_of_an_earlier_process_go_through_the_machine_too(
    bench: DisputedBench, record: Record
) -> None:
    """Killed after the seal: the next process scores, settles and finalises the round."""
    service = bench.service(rule())
    collect(bench, service)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    settle = bench.ledger.settle_round
    bench.ledger.settle_round = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        service.close_round()
    bench.ledger.settle_round = settle  # type: ignore[method-assign]
    record.taken.clear()
    ledger_of(bench).challenge_window_s = 0
    bench.service(rule()).catch_up()
    assert round_status(bench, 1) == "final"
    assert [(event.__name__, after.value) for _, event, after in record.taken] == [
        ("Scored", "settling"),
        ("RoundSettled", "settled"),
        ("WindowPassed", "finalizing"),
        ("RoundFinalized", "final"),
    ]
