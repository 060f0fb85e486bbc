"""Each of the eight attacks is caught, on the embedded chain and on anvil, by the same code.

Caught means: the watcher proves it, a fifth of the coordinator's bond is gone, half of it to the
watcher; the round is void; and training goes on to the very roots of a run whose coordinator gave
that round up honestly. Or the contract refuses it, and the refusal is on record.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fraud_bench import ETHER, GUILTY, ROUNDS, FraudBench, experiment, fraud_bench

from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.disputes.fault import FaultKind
from coordinator.protocol.disputes.faults import find_faults
from coordinator.protocol.types import RoundId

PROVEN = [
    ({"kind": "shift_parameter", "parameter": 11}, "wrong aggregate", "fedavg"),
    ({"kind": "shift_parameter", "parameter": 11, "amount": -1}, "wrong aggregate", "median"),
    ({"kind": "drop_weight", "victim": 1}, "leaf: wrong weight", "fedavg"),
    ({"kind": "unsigned_leaf", "victim": 2}, "leaf: invalid signature", "fedavg"),
    ({"kind": "count_twice", "victim": 3}, "leaves: same contributor", "trimmed_mean"),
    ({"kind": "pay_self"}, "reward: not a member", "fedavg"),
    ({"kind": "withhold", "victim": 4}, "withheld data", "fedavg"),
]
REFUSED = [
    ({"kind": "seal_early"}, "round: seals early"),
    ({"kind": "seal_twice"}, "round: not open"),
]

Roots = tuple[bytes, bytes, bytes]


@cache
def honest_roots(rule: str, *, abandoned: bool) -> Roots:
    """The roots of an honest run that gave up the guilty round, or went through it."""
    attacks = [{"kind": "abandon"}] if abandoned else []
    used = experiment(*attacks, aggregator={"kind": rule})
    with TemporaryDirectory() as folder, fraud_bench(used, Path(folder)) as bench:
        for _ in range(ROUNDS):
            bench.play()
        assert bench.bond_wei == 10 * ETHER
        assert bench.said("found") == []
        return bench.roots()


@pytest.mark.parametrize(("attack", "offence", "rule"), PROVEN, ids=lambda v: str(v)[:40])
def test_a_proven_attack_costs_the_bond_and_voids_the_round(
    make_bench: Callable[..., FraudBench], attack: dict, offence: str, rule: str
) -> None:
    bench = make_bench(attack, aggregator={"kind": rule})
    watcher = bench.chain.identities.watcher
    before = bench.balance(watcher)
    for _ in range(ROUNDS):
        bench.play()
    assert [status == "void" for status in bench.statuses()] == [False, True, False, False]
    assert bench.reason(GUILTY) == offence
    assert bench.bond_wei == 8 * ETHER
    earned = bench.balance(watcher) - before
    assert ETHER - 10**16 < earned < ETHER  # half of two ether, less gas
    assert bench.chain.referee.locked_wei() == 0
    assert bench.roots() == honest_roots(rule, abandoned=True)
    (planned, *_) = [notice for notice in bench.notices if notice.verb == "planned"]
    assert planned.price is not None
    assert planned.price.bounty_wei == ETHER
    assert 0 < planned.price.gas < 2_000_000


def test_paying_itself_is_wrong_in_one_leaf(make_bench: Callable[..., FraudBench]) -> None:
    """The coordinator's account stands in a member's place: two faults say so, and no other."""
    bench = make_bench({"kind": "pay_self"})
    for _ in range(GUILTY):
        bench.play(watched=False)
    round_ = RoundReader(bench.chain.federation, bench.public).read(RoundId(GUILTY))
    outsider, missing = find_faults(round_)
    assert (outsider.kind, missing.kind) == (FaultKind.REWARD_OUTSIDER, FaultKind.REWARD_WITHHELD)
    leaf = round_.known_rewards[outsider.place]
    assert leaf.contributor == bench.chain.identities.coordinator.address
    assert missing.place == outsider.place + 1  # members are numbered from 1


SEALED = [PROVEN[0], PROVEN[3], PROVEN[6]]


@pytest.mark.parametrize(("attack", "offence", "rule"), SEALED, ids=lambda v: str(v)[:40])
def test_an_attack_on_a_sealed_round_is_proven_all_the_same(
    make_bench: Callable[..., FraudBench], attack: dict, offence: str, rule: str
) -> None:
    """Leaves, signature hashes and roots of a sealed round are those of an open one."""
    bench = make_bench(attack, aggregator={"kind": rule}, cohort={"sealed": True})
    for _ in range(ROUNDS):
        bench.play()
    assert [status == "void" for status in bench.statuses()] == [False, True, False, False]
    assert bench.reason(GUILTY) == offence
    assert bench.bond_wei == 8 * ETHER
    assert bench.roots() == honest_roots(rule, abandoned=True)
    rounds = [bench.chain.ledger.round(n) for n in range(1, ROUNDS + 1)]
    assert [found.commitments_count for found in rounds] == [5] * ROUNDS


@pytest.mark.parametrize(("attack", "refusal"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_the_contract_refuses_is_on_record_and_changes_nothing(
    make_bench: Callable[..., FraudBench], attack: dict, refusal: str
) -> None:
    bench = make_bench(attack)
    for _ in range(ROUNDS):
        bench.play()
    assert "void" not in bench.statuses()
    assert bench.attempts.get(GUILTY) == {
        "round": GUILTY,
        "attack": attack["kind"],
        "refused": refusal,
    }
    assert bench.bond_wei == 10 * ETHER
    assert bench.roots() == honest_roots("fedavg", abandoned=False)
