"""A fraud proven in one round, at any moment of the work on the next; on fakes and for real."""

import numpy as np
import pytest
from gavel_bench import DisputedBench
from service_bench import INITIAL, round_status, rule, vector

from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.types import RoundId
from coordinator.service.round_service import RoundService


def collect(bench: DisputedBench, service: RoundService, value: int) -> RoundAnnouncement:
    announced = service.open_round()
    for client in range(3):
        service.submit(*bench.signed(client, announced, vector(value)))
    return announced


def play(bench: DisputedBench, service: RoundService, value: int) -> RoundOutcome:
    collect(bench, service, value)
    return service.close_round()


def earned(bench: DisputedBench, number: int) -> list[int]:
    root = bench.ledger.round(RoundId(number)).rewards_root
    return sorted(int(wei) for _, wei in bench.store.get_document("rewards", root)["rewards"])


def test_training_goes_on_from_the_last_sound_model(disputed: DisputedBench) -> None:
    service = disputed.service(rule())
    for value in (1, 20):
        play(disputed, service, value)
    disputed.convict(2, "wrong aggregate")
    outcome = play(disputed, service, 300)
    assert (outcome.round_id, outcome.status) == (3, "sealed")
    np.testing.assert_array_equal(outcome.model, INITIAL + 1 + 300)
    assert disputed.ledger.round(RoundId(3)).parent == 1
    assert disputed.ledger.void_reason(RoundId(2)) == "wrong aggregate"
    assert earned(disputed, 3) == [0, 666, 666, 666]  # twice 333, not three times


def test_a_round_whose_foundation_is_convicted_while_it_is_open_is_void(
    disputed: DisputedBench,
) -> None:
    service = disputed.service(rule())
    play(disputed, service, 1)
    play(disputed, service, 20)
    collect(disputed, service, 300)
    disputed.convict(2, "wrong aggregate")
    outcome = service.close_round()
    reason = "stands on round 2: wrong aggregate"
    assert (outcome.status, outcome.reason) == ("void", reason)
    np.testing.assert_array_equal(outcome.model, INITIAL + 1)
    assert disputed.journal.get(RoundId(3))["reason"] == reason
    outcome = play(disputed, service, 4000)
    np.testing.assert_array_equal(outcome.model, INITIAL + 1 + 4000)
    assert [round_status(disputed, n) for n in (1, 2, 3, 4)] == [
        *("settled", "void", "void", "settled")
    ]


def test_momentum_is_that_of_the_last_sound_round(disputed: DisputedBench) -> None:
    half = rule(server_momentum_q16=1 << 15)
    service = disputed.service(half)
    play(disputed, service, 100)
    play(disputed, service, 100)
    disputed.convict(2, "wrong aggregate")
    service = disputed.service(half)  # as after a crash
    np.testing.assert_array_equal(play(disputed, service, 100).model, INITIAL + 100 + 150)


@pytest.mark.parametrize("step", ["seal_round", "settle_round", "open_round"])
def test_a_conviction_between_the_look_and_the_call_is_taken_as_such(
    disputed: DisputedBench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    service = disputed.service(rule())
    play(disputed, service, 1)
    play(disputed, service, 20)
    honest = getattr(disputed.ledger, step)
    pending = ["convict"]

    def interrupted(*arguments: object, **named: object) -> None:
        if pending:
            pending.clear()
            disputed.convict(2, "wrong aggregate")
        honest(*arguments, **named)

    monkeypatch.setattr(disputed.ledger, step, interrupted)
    outcome = play(disputed, service, 300)
    if step == "open_round":
        assert outcome.status == "sealed"
        np.testing.assert_array_equal(outcome.model, INITIAL + 1 + 300)
    else:
        assert (outcome.status, outcome.reason) == ("void", "stands on round 2: wrong aggregate")
        np.testing.assert_array_equal(outcome.model, INITIAL + 1)


def test_any_other_refusal_of_the_ledger_is_an_error(
    disputed: DisputedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = disputed.service(rule())
    collect(disputed, service, 1)

    def refused(*arguments: object, **named: object) -> None:
        raise TransactionRevertedError("no", reason="no")

    monkeypatch.setattr(disputed.ledger, "seal_round", refused)
    with pytest.raises(TransactionRevertedError, match="no"):
        service.close_round()
