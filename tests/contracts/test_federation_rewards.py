from collections.abc import Iterator
from dataclasses import replace

import pytest
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    STRANGER,
    TERMS,
    World,
    rewards_proof,
    rewards_root,
    settle_call,
)
from histories import FUZZ, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.binding import calls
from contracts.binding.events import Claimed, PoolFunded
from coordinator.protocol.commitments.digests import rewards_tree as core_rewards_tree
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.types import RewardLeaf

ALICE, BOB = CONTRIBUTORS[:2]
SPLIT = {
    m.address: share for m, share in zip(CONTRIBUTORS, (100, 200, 0, 150, 249, 1), strict=True)
}
PAID = sum(SPLIT.values())  # a budget of 700 exactly


def pay(world: World, number: int, earned: dict[str, int], paid: int = PAID) -> None:
    world.play(number, earned, paid)
    world.finalize(number)


def claim(earned: dict[str, int], who: str) -> calls.Call:
    return calls.claim(*rewards_proof(earned, who))


def test_anyone_may_fund_the_pool(world: World) -> None:
    before = world.federation.head().pool_wei
    event = world.event(BOB, calls.fund(9))
    assert event == PoolFunded(event.place, BOB.address, 9, before + 9)
    assert world.reason(BOB, calls.fund(0)) == "pool: nothing sent"


def test_a_claim_pays_the_leaf_of_the_final_tree(world: World) -> None:
    pay(world, 1, SPLIT)
    before = world.balance(BOB.address)
    receipt = world.send(BOB, claim(SPLIT, BOB.address))
    (event,) = receipt.events
    assert event == Claimed(event.place, BOB.address, 200, 200)
    assert world.balance(BOB.address) == before + 200 - receipt.fee_wei
    assert world.federation.account(BOB.address).claimed_wei == 200
    assert world.federation.head().reserve_wei == PAID - 200
    assert world.reason(BOB, claim(SPLIT, BOB.address)) == "claim: nothing due"


def test_nothing_can_be_claimed_before_a_round_is_final(world: World) -> None:
    assert world.reason(BOB, claim(SPLIT, BOB.address)) == "claim: bad proof"
    world.play(1, SPLIT, PAID)
    assert world.reason(BOB, claim(SPLIT, BOB.address)) == "claim: bad proof"
    world.finalize(1)
    assert world.event(BOB, claim(SPLIT, BOB.address)).amount == 200


def test_one_claim_collects_many_rounds(world: World) -> None:
    earned = dict.fromkeys(SPLIT, 0)
    for number in range(1, 5):
        earned = {who: earned[who] + SPLIT[who] for who in SPLIT}
        world.play(number, earned, PAID)
    for number in range(1, 5):
        world.finalize(number)
    assert world.event(BOB, claim(earned, BOB.address)).amount == 800
    pay(world, 5, {who: 5 * share for who, share in SPLIT.items()})
    five = {who: 5 * share for who, share in SPLIT.items()}
    event = world.event(BOB, claim(five, BOB.address))
    assert event == Claimed(event.place, BOB.address, 1_000, 200)
    assert world.event(ALICE, claim(five, ALICE.address)).amount == 500
    assert world.federation.head().reserve_wei == 5 * PAID - 1_000 - 500


def test_an_older_tree_pays_no_more_once_a_newer_is_final(world: World) -> None:
    pay(world, 1, SPLIT)
    twice = {who: 2 * share for who, share in SPLIT.items()}
    pay(world, 2, twice)
    assert world.reason(BOB, claim(SPLIT, BOB.address)) == "claim: bad proof"
    assert world.event(BOB, claim(twice, BOB.address)).amount == 400


def test_a_leaf_of_nothing_pays_nothing(world: World) -> None:
    pay(world, 1, SPLIT)
    poor = CONTRIBUTORS[2]
    assert world.reason(poor, claim(SPLIT, poor.address)) == "claim: nothing due"


def test_a_leaf_pays_only_its_owner_and_its_amount(world: World) -> None:
    pay(world, 1, SPLIT)
    cumulative, proof = rewards_proof(SPLIT, BOB.address)
    assert world.reason(ALICE, calls.claim(cumulative, proof)) == "claim: bad proof"
    assert world.reason(BOB, calls.claim(cumulative + 1, proof)) == "claim: bad proof"
    assert world.reason(BOB, calls.claim(cumulative, proof[:-1])) == "claim: bad proof"
    assert world.reason(BOB, calls.claim(cumulative, (*proof, bytes(32)))) == "claim: bad proof"
    assert world.reason(BOB, calls.claim(cumulative, proof[::-1])) == "claim: bad proof"
    assert world.reason(STRANGER, calls.claim(0, ())) == "claim: bad proof"


def test_a_proof_longer_than_any_tree_is_refused(world: World) -> None:
    with pytest.raises(TransactionRevertedError):
        world.send(BOB, calls.claim(1, [bytes(32)] * 33))
    assert world.reason(BOB, calls.claim(1, [bytes(32)] * 32)) == "claim: bad proof"


def test_a_tree_that_promises_too_much_cannot_reach_other_money(world: World) -> None:
    """What no challenger stopped still pays at most what its rounds released."""
    greedy = {**SPLIT, BOB.address: PAID + 1, ALICE.address: PAID}
    pay(world, 1, greedy)
    assert world.reason(BOB, claim(greedy, BOB.address)) == "claim: exceeds reserve"
    assert world.event(ALICE, claim(greedy, ALICE.address)).amount == PAID
    assert world.federation.head().reserve_wei == 0


def test_a_single_member_needs_no_siblings(world: World) -> None:
    alone = {BOB.address: BUDGET}
    pay(world, 1, alone, BUDGET)
    assert rewards_proof(alone, BOB.address)[1] == ()
    assert world.event(BOB, claim(alone, BOB.address)).amount == BUDGET


def test_an_inner_node_is_no_leaf(world: World) -> None:
    """Invariant 15: 64-byte nodes and leaves are hashed differently."""
    pay(world, 1, SPLIT)
    _, proof = rewards_proof(SPLIT, BOB.address)
    assert world.reason(BOB, calls.claim(200, proof[1:])) == "claim: bad proof"


@pytest.fixture(scope="module")
def rich() -> Iterator[World]:
    world = World.create(
        replace(TERMS, round_budget_wei=BUDGET * 10**4, challenge_window_s=0), revm=FUZZ
    )
    world.populate()
    world.send(STRANGER, calls.fund(BUDGET * 10**4))
    world.open(1)
    world.seal(1)
    yield world
    world.node.close()


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(shares=st.lists(st.integers(1, 10**6), min_size=1, max_size=6), at=st.integers(0, 5))
def test_contract_and_core_agree_on_every_proof(rich: World, shares: list[int], at: int) -> None:
    """Invariant 15: the contract verifies what ``coordinator.protocol`` builds."""
    snapshot, at = rich.node.snapshot(), at % len(shares)
    rich.forget()
    leaves = [RewardLeaf(m.address, s) for m, s in zip(CONTRIBUTORS, shares, strict=False)]
    tree = core_rewards_tree(leaves)
    assert tree.root == rewards_root({leaf.contributor: leaf.cumulative_wei for leaf in leaves})
    rich.send(COORDINATOR, settle_call(1, tree.root, BUDGET * 10**4))
    rich.finalize(1)
    wrong = calls.claim(shares[at] + 1, tree.proof(at))
    assert rich.reason(CONTRIBUTORS[at], wrong) == "claim: bad proof"
    right = calls.claim(shares[at], tree.proof(at))
    assert rich.event(CONTRIBUTORS[at], right).amount == shares[at]
    rich.node.revert(snapshot)
