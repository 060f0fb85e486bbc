import pytest

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.round.incentives import Slash, accumulate, slash_amount, split_budget
from coordinator.protocol.types import RewardLeaf

A, B, C = ("0x" + 38 * "0" + digits for digits in ("0a", "0B", "0c"))


def test_split_floors_and_keeps_the_remainder():
    split = split_budget(1000, {A: 1, B: 2, C: 4})
    assert split.shares == {A: 142, B: 285, C: 571}
    assert (split.paid_wei, split.remainder_wei) == (998, 2)


def test_a_score_of_zero_earns_nothing():
    split = split_budget(10**18, {A: 0, B: 5})
    assert split.shares == {A: 0, B: 10**18}
    assert split.remainder_wei == 0


@pytest.mark.parametrize("scores", [{}, {A: 0, B: 0}])
def test_without_scores_the_budget_stays_in_the_pool(scores):
    split = split_budget(77, scores)
    assert set(split.shares.values()) <= {0}
    assert (split.paid_wei, split.remainder_wei) == (0, 77)


@pytest.mark.parametrize(
    ("budget", "scores", "words"),
    [
        (-1, {A: 1}, "budget is -1"),
        (1.0, {A: 1}, "budget is 1.0"),
        (5, {A: -1}, f"score of {A} is -1"),
        (5, {A: 0.5}, f"score of {A} is 0.5"),
        (5, {A: True}, f"score of {A} is True"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(budget, scores, words):
    with pytest.raises(AggregationError, match=words):
        split_budget(budget, scores)


def test_rewards_accumulate_over_members_who_come_later():
    first = accumulate({}, [A, C], {C: 3})
    assert first == [RewardLeaf(A, 0), RewardLeaf(C, 3)]
    earned = {leaf.contributor: leaf.cumulative_wei for leaf in first}
    second = accumulate(earned, [A, C, B], {A: 1, B: 2})
    assert second == [RewardLeaf(A, 1), RewardLeaf(C, 3), RewardLeaf(B, 2)]  # as they joined
    assert accumulate({}, [], {}) == []


@pytest.mark.parametrize(
    ("previous", "members", "shares", "words"),
    [
        ({}, [A, B, A], {}, "a member appears twice"),
        ({C: 5}, [A, B], {}, f"{C} has 5 wei in previous rewards"),
        ({}, [A, B], {C: 1}, f"{C} has 1 wei in shares"),
        ({A: -1}, [A], {}, f"previous rewards of {A} is -1"),
        ({}, [A], {A: 1.5}, f"shares of {A} is 1.5"),
    ],
)
def test_rewards_that_would_lose_money_are_refused(previous, members, shares, words):
    with pytest.raises(AggregationError, match=words):
        accumulate(previous, members, shares)


@pytest.mark.parametrize(
    ("bond", "bps", "slash"),
    [
        (1000, 5000, Slash(500, 250, 250)),
        (1001, 10_000, Slash(1001, 500, 501)),  # the odd wei is burned
        (3, 3333, Slash(0, 0, 0)),
        (0, 10_000, Slash(0, 0, 0)),
        (10**18, 0, Slash(0, 0, 0)),
    ],
)
def test_slash(bond, bps, slash):
    assert slash_amount(bond, bps) == slash


@pytest.mark.parametrize(("bond", "bps"), [(-1, 1), (1, -1), (1, 10_001), (1.0, 1), (1, 0.5)])
def test_slashes_that_make_no_sense_are_refused(bond, bps):
    with pytest.raises(AggregationError):
        slash_amount(bond, bps)
