"""Splits a round's budget by score, accumulates rewards, and computes slashes, in integer wei.

Every division rounds down and the remainder has a named destination. Not handled: computing scores
(``scores``), and deciding who is slashed (the contracts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    RewardLeaf,
    RoundId,
    ScoreLeaf,
    Wei,
)

BPS_TOTAL = 10_000
"""Basis points in a whole."""


@dataclass(frozen=True, slots=True)
class RewardSplit:
    """A round's budget: ``paid_wei`` is the sum of ``shares``, ``remainder_wei`` stays pooled."""

    shares: Mapping[Address, Wei]
    paid_wei: Wei
    remainder_wei: Wei


@dataclass(frozen=True, slots=True)
class Slash:
    """The part taken of a bond: ``bounty_wei`` for the prover of the offence, the rest burned."""

    taken_wei: Wei
    bounty_wei: Wei
    burned_wei: Wei


def split_budget(budget_wei: Wei, scores: Mapping[Address, int]) -> RewardSplit:
    """Give each contributor ``budget * score // total score``.

    Parameters
    ----------
    budget_wei
        The most that the round may pay, at least 0.
    scores
        Non-negative integers. If all are zero (or there are none), nothing is paid.

    Returns
    -------
    One share for each score, zero included; ``paid + remainder == budget``.

    Raises
    ------
    AggregationError
        If the budget or a score is negative or not an integer.

    Examples
    --------
    >>> a, b = Address("0x" + 40 * "1"), Address("0x" + 40 * "2")
    >>> split = split_budget(Wei(100), {a: 2, b: 1})
    >>> list(split.shares.values()), split.paid_wei, split.remainder_wei
    ([66, 33], 99, 1)
    """
    _check_amount("budget", budget_wei)
    for address, score in scores.items():
        _check_amount(f"score of {address}", score)
    total = sum(scores.values())
    shares = {
        address: Wei(budget_wei * score // total if total else 0)
        for address, score in scores.items()
    }
    paid = sum(shares.values())
    if not 0 <= paid <= budget_wei:
        raise AggregationError(f"rewards: {paid} wei paid of a budget of {budget_wei}")
    return RewardSplit(shares, Wei(paid), Wei(budget_wei - paid))


def accumulate(
    previous: Mapping[Address, Wei], members: Sequence[Address], shares: Mapping[Address, Wei]
) -> list[RewardLeaf]:
    """Add a round's shares to the cumulative rewards of its parent.

    Parameters
    ----------
    previous
        Cumulative wei after the parent round; an address that joined since is absent.
    members
        All members when the round opened, in order of joining.
    shares
        This round's shares; an address without one earned nothing.

    Returns
    -------
    One leaf for each member, in order of joining.

    Raises
    ------
    AggregationError
        If a member is repeated, an address with an amount is not a member, or an amount is
        negative or not an integer.

    Examples
    --------
    >>> a, b = Address("0x" + 40 * "1"), Address("0x" + 40 * "2")
    >>> [leaf.cumulative_wei for leaf in accumulate({a: Wei(5)}, [a, b], {b: Wei(3), a: Wei(1)})]
    [6, 3]
    """
    known = set(members)
    if len(known) != len(members):
        raise AggregationError("rewards: a member appears twice, expected each once")
    for place, amounts in (("previous rewards", previous), ("shares", shares)):
        for address, amount in amounts.items():
            _check_amount(f"{place} of {address}", amount)
            if address not in known:
                raise AggregationError(
                    f"rewards: {address} has {amount} wei in {place} but is not among the "
                    f"{len(members)} members"
                )
    leaves = [
        RewardLeaf(member, Wei(previous.get(member, 0) + shares.get(member, 0)))
        for member in members
    ]
    owed = sum(previous.values()) + sum(shares.values())
    if sum(leaf.cumulative_wei for leaf in leaves) != owed:
        raise AggregationError(f"rewards: the leaves do not sum to {owed} wei")
    return leaves


def slash_amount(bond_wei: Wei, bps: int) -> Slash:
    """Return the slash of ``bps`` basis points of an account's bonded and unbonding stake.

    Half of the amount taken, rounded down, is the bounty.

    Raises
    ------
    AggregationError
        If the bond is negative or not an integer, or ``bps`` is not 0 to 10,000.

    Examples
    --------
    >>> slash_amount(Wei(1001), 5000)
    Slash(taken_wei=500, bounty_wei=250, burned_wei=250)
    """
    _check_amount("bond", bond_wei)
    _check_amount("slash_bps", bps)
    if bps > BPS_TOTAL:
        raise AggregationError(f"slash: slash_bps is {bps}, expected 0 to {BPS_TOTAL}")
    taken = bond_wei * bps // BPS_TOTAL
    bounty = taken // 2
    return Slash(Wei(taken), Wei(bounty), Wei(taken - bounty))


def _check_amount(name: str, amount: int) -> None:
    if type(amount) is not int or amount < 0:
        raise AggregationError(f"{name} is {amount!r}, expected an integer of at least 0")


def score_leaves_of(
    round_id: RoundId, entries: Sequence[ContributorEntry], scores: Sequence[int]
) -> list[ScoreLeaf]:
    """Return the leaves of the scores tree, in order of address."""
    return [
        ScoreLeaf(round_id, entry.leaf.contributor, score)
        for entry, score in zip(entries, scores, strict=True)
    ]
