"""Whole rounds through the service, on fakes and on the real chain and disk alike."""

from collections.abc import Callable

import numpy as np
import pytest
from memory_ledger import MemoryJournal, MemoryLedger, MemoryStore
from service_bench import INITIAL, MANIFEST, Bench, round_status, rule, vector

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import ContributorError, MalformedUpdateError
from coordinator.protocol.signatures.eip712 import address_of_key
from coordinator.protocol.types import RoundId, SigningDomain, Wei
from simulations.run.identities import private_key


def test_a_round_is_aggregated_committed_and_paid(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    np.testing.assert_array_equal(announced.model, INITIAL)
    service.submit(*bench.signed(0, announced, vector(100), examples=30))
    service.submit(*bench.signed(1, announced, vector(200), examples=10))
    outcome = service.close_round()
    assert (outcome.status, len(outcome.accepted)) == ("sealed", 2)
    np.testing.assert_array_equal(outcome.model, INITIAL + 125)  # (3 * 100 + 200) / 4
    sealed = bench.ledger.round(RoundId(1))
    assert (sealed.status.word, sealed.n, sealed.total_examples) == ("final", 2, 40)
    assert (sealed.total_score, sealed.paid_wei, sealed.total_stake_wei) == (40, 1000, 2 * 10**18)
    assert sealed.new_model_root == outcome.model_root


def test_rounds_stack_and_rewards_accumulate(bench: Bench) -> None:
    service = bench.service(rule())
    for _ in range(3):
        announced = service.open_round()
        for client in range(3):
            service.submit(*bench.signed(client, announced, vector(client)))
        outcome = service.close_round()
    np.testing.assert_array_equal(outcome.model, INITIAL + 3)
    last = bench.ledger.round(RoundId(3))
    rewards = bench.store.get_document("rewards", last.rewards_root)["rewards"]
    # 1000 * 10 // 30 = 333 a round each; the fourth member took no part
    assert sorted(int(wei) for _, wei in rewards) == [0, 999, 999, 999]
    assert last.paid_wei == 999


def test_server_momentum_carries_over_a_restart(make_bench: Callable[[], Bench]) -> None:
    half = rule(server_momentum_q16=1 << 15)
    for expected in (100, 100 + 150, 100 + 150 + 175):
        bench = make_bench()
        service = bench.service(half)  # a new service each round: as after a crash
        announced = service.open_round()
        for client in range(2):
            service.submit(*bench.signed(client, announced, vector(100)))
        outcome = service.close_round()
        np.testing.assert_array_equal(outcome.model, INITIAL + expected)


def test_too_few_updates_void_the_round_and_the_next_starts_from_the_same_model(
    bench: Bench,
) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    service.submit(*bench.signed(0, announced, vector(1)))
    outcome = service.close_round()
    assert (outcome.status, outcome.reason) == ("void", "too few updates: 1 of 2")
    assert round_status(bench, 1) == "void"
    again = service.open_round()
    assert (again.round_id, again.model_root) == (2, announced.model_root)
    for client in range(2):
        service.submit(*bench.signed(client, again, vector(1)))
    assert service.close_round().status == "sealed"
    assert bench.ledger.round(RoundId(2)).parent == 0


def test_an_update_that_no_model_can_take_is_refused(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    extreme = vector(2**31 - 1)
    with pytest.raises(MalformedUpdateError, match="parameter 1 becomes") as refused:
        service.submit(*bench.signed(0, announced, extreme))
    assert refused.value.code == "out-of-range"
    fits = extreme - INITIAL
    for client in (1, 2):
        service.submit(*bench.signed(client, announced, fits))
    assert service.close_round().model.tolist() == [2**31 - 1] * 17


def test_overflow_by_the_server_voids_the_round_with_its_reason(bench: Bench) -> None:
    service = bench.service(rule(server_lr_q16=3 << 16))
    announced = service.open_round()
    for client in range(2):
        service.submit(*bench.signed(client, announced, vector(2**30)))
    outcome = service.close_round()
    assert outcome.status == "void"
    assert "int32" in outcome.reason


def test_a_crash_between_open_and_seal_reopens_the_same_round(
    make_bench: Callable[[], Bench],
) -> None:
    bench = make_bench()
    first = bench.service(rule()).open_round()
    bench = make_bench()
    service = bench.service(rule())
    second = service.open_round()
    assert (second.round_id, second.model_root) == (first.round_id, first.model_root)
    for client in range(2):
        service.submit(*bench.signed(client, second, vector(7)))
    assert service.close_round().status == "sealed"


def test_a_crash_between_seal_and_settle_is_settled_first(
    make_bench: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(Exception):
        pass

    def cut(*_: object, **__: object) -> None:
        raise PowerCutError

    bench = make_bench()
    service = bench.service(rule())
    announced = service.open_round()
    for client in range(3):
        service.submit(*bench.signed(client, announced, vector(client)))
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.ledger), "settle_round", cut)
        with pytest.raises(PowerCutError):
            service.close_round()
    assert round_status(bench, 1) == "sealed"
    bench = make_bench()
    announced = bench.service(rule()).open_round()
    assert round_status(bench, 1) == "final"
    assert bench.ledger.round(RoundId(1)).paid_wei == 999
    assert announced.round_id == 2


def test_an_equal_repeat_changes_nothing(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    for _ in range(3):
        service.submit(*bench.signed(0, announced, vector(5)))
    service.submit(*bench.signed(1, announced, vector(5)))
    outcome = service.close_round()
    assert (len(outcome.accepted), outcome.refusals) == (2, [])


def test_an_equivocator_is_dropped_and_loses_its_bond(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    for client in range(3):
        service.submit(*bench.signed(client, announced, vector(10)))
    with pytest.raises(EquivocationError):
        service.submit(*bench.signed(0, announced, vector(11)))
    with pytest.raises(ContributorError):  # and the first one again is no longer welcome
        service.submit(*bench.signed(0, announced, vector(10)))
    outcome = service.close_round()
    assert len(outcome.accepted) == 2
    assert outcome.refusals[0].code == "equivocation"
    cheat = outcome.refusals[0].sender
    assert bench.ledger.is_equivocation_slashed(RoundId(1), cheat)
    announced = service.open_round()
    assert cheat not in bench.ledger.stakes_at(announced.round_id)
    with pytest.raises(MalformedUpdateError, match="bond of"):
        service.submit(*bench.signed(0, announced, vector(1)))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"round_id": 7}, "wrong-round"),
        ({"base_model": b"\1" * 32}, "wrong-base-model"),
        ({"update": b"\1" * 32}, "wrong-root"),
        ({"examples": 0}, "examples-out-of-range"),
        ({"metrics_hash": b"\1" * 32}, "wrong-metrics"),
    ],
)
def test_a_bad_update_is_refused_by_name_and_the_round_goes_on(
    bench: Bench, changes: dict[str, object], code: str
) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    signed, vec, metrics = bench.signed(0, announced, vector(1))
    signed, vec, metrics = bench.signed(0, announced, vec, **changes)  # type: ignore[arg-type]
    with pytest.raises(ContributorError) as refused:
        service.submit(signed, vec, metrics)
    assert refused.value.code == code
    for client in (1, 2):
        service.submit(*bench.signed(client, announced, vector(1)))
    outcome = service.close_round()
    assert (outcome.status, [r.code for r in outcome.refusals]) == ("sealed", [code])


def test_a_restart_does_not_finalise_while_a_round_is_open() -> None:
    """Else a killed run would write other blocks than an undisturbed one."""
    key = private_key(1, "somebody")
    who = address_of_key(key)
    ledger = MemoryLedger(
        parameter_root(INITIAL, MANIFEST),
        {who: Wei(1)},
        SigningDomain(1, who),
        challenge_window_s=5,
    )
    alone = Bench(ledger, MemoryStore(), MemoryJournal(), [key])
    service = alone.service(rule(min_contributors=1))
    for number in (1, 2):
        announced = service.open_round()
        if number == 2:
            ledger.time += 10  # round 1's window passes while round 2 collects
            service = alone.service(rule(min_contributors=1))
            service.catch_up()
            assert round_status(alone, 1) == "settled"
            announced = service.open_round()
            assert (announced.round_id, round_status(alone, 1)) == (2, "settled")
        service.submit(*alone.signed(0, announced, vector(1)))
        service.close_round()
    assert round_status(alone, 1) == "final"
