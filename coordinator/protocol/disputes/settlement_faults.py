"""Faults of a settled round: scores by examples, payments, cumulative rewards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from coordinator.protocol.disputes.columns import share_of
from coordinator.protocol.disputes.fault import EXAMPLES_SCORING, Fault, FaultKind
from coordinator.protocol.disputes.records import DisputedRound, reward_positions
from coordinator.protocol.rules.base import capped_examples
from coordinator.protocol.types import Address, ScoreLeaf

_MODULUS = 1 << 256


def settlement_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield the faults of a settled round's scores and rewards; contributors must be right."""
    committed = round_.committed
    if round_.scores is None or round_.scores_tree.root != committed.scores_root:
        yield Fault(FaultKind.SCORE_WITHHELD, "the scores are not available")
        return
    sound = True
    for fault in score_faults(round_):
        sound = False
        yield fault
    if sound:
        yield from payment_faults(round_)
    if round_.rewards is None or round_.rewards_tree.root != committed.rewards_root:
        yield Fault(FaultKind.REWARD_WITHHELD, "the rewards are not available", 1)
    else:
        yield from reward_faults(round_)


def score_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault for each score that is malformed, repeated, stray, wrong, or missing."""
    leaves = round_.known_scores
    entries = round_.known_entries
    for at, leaf in enumerate(leaves):
        if leaf.round_id != round_.committed.round_id:
            yield Fault(FaultKind.SCORE_FORM, f"score {at} is of round {leaf.round_id}", at)
    for first, second in _doubles(leaves):
        detail = f"{leaves[first].contributor} has scores {first} and {second}"
        yield Fault(FaultKind.SCORE_PAIR, detail, first, second)
    took_part = {entry.leaf.contributor for entry in entries}
    for at, leaf in enumerate(leaves):
        if leaf.contributor not in took_part:
            yield Fault(FaultKind.SCORE_STRAY, f"{leaf.contributor} took no part", at)
    places: dict[Address, list[int]] = {}
    for at, leaf in enumerate(leaves):
        places.setdefault(leaf.contributor, []).append(at)
    by_examples = round_.known_rule.scoring_hash == EXAMPLES_SCORING
    for position, entry in enumerate(entries):
        contributor = entry.leaf.contributor
        expected = capped_examples(round_.known_rule, entry.leaf.examples)
        if contributor not in places:
            yield Fault(FaultKind.SCORE_WITHHELD, f"{contributor} has no score", entry.leaf.index)
        for at in places.get(contributor, ()) if by_examples else ():
            if leaves[at].score != expected:
                detail = f"{contributor} scored {leaves[at].score}, expected {expected}"
                yield Fault(FaultKind.SCORE, detail, position, at)


def _doubles(leaves: Sequence[ScoreLeaf]) -> Iterator[tuple[int, int]]:
    places: dict[Address, list[int]] = {}
    for at, leaf in enumerate(leaves):
        places.setdefault(leaf.contributor, []).append(at)
    for group in places.values():
        for first, second in combinations(group, 2):
            if leaves[first].score != leaves[second].score:
                yield first, second


def payment_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault if scores or shares do not sum to the committed totals."""
    committed = round_.committed
    scores = [leaf.score for leaf in round_.known_scores]
    shares = [share_of(committed.budget_wei, s, committed.total_score) for s in scores]
    computed, expected = (sum(scores), sum(shares)), (committed.total_score, committed.paid_wei)
    if computed != expected:
        detail = f"scores and shares sum to {computed}, committed are {expected}"
        yield Fault(FaultKind.PAYMENTS, detail)


@dataclass(frozen=True, slots=True)
class _ByAccount:
    """Earlier rewards and scores by account; two values for one account are a separate fault."""

    took_part: frozenset[Address]
    scores: Mapping[Address, set[int]]
    earned: Mapping[Address, set[int]]

    @classmethod
    def of(cls, round_: DisputedRound) -> "_ByAccount":
        scores: dict[Address, set[int]] = {}
        for score in round_.known_scores:
            scores.setdefault(score.contributor, set()).add(score.score)
        earned: dict[Address, set[int]] = {}
        for reward in round_.parent_rewards or ():
            earned.setdefault(reward.contributor, set()).add(reward.cumulative_wei)
        took_part = frozenset(entry.leaf.contributor for entry in round_.known_entries)
        return cls(took_part, scores, earned)


def reward_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault for each reward of a non-member, wrong reward, and member without a reward."""
    leaves = round_.known_rewards
    index = _ByAccount.of(round_)
    for at, leaf in enumerate(leaves):
        if leaf.contributor not in round_.member_set:
            detail = f"{leaf.contributor} was no member"
            yield Fault(FaultKind.REWARD_OUTSIDER, detail, at)
            continue
        expected = expected_reward(round_, index, leaf.contributor)
        if expected is not None and leaf.cumulative_wei != expected:
            detail = f"{leaf.contributor} has {leaf.cumulative_wei} wei, expected {expected}"
            yield Fault(FaultKind.REWARD, detail, at)
    placed = reward_positions(round_)
    for number, member in enumerate(round_.members[: round_.committed.member_count], 1):
        if number not in placed:
            yield Fault(FaultKind.REWARD_WITHHELD, f"{member} has no leaf in its place", number)


def expected_reward(round_: DisputedRound, index: "_ByAccount", account: Address) -> int | None:
    """Return a member's right cumulative reward in wei, ``None`` if that is unknown.

    It is unknown without the parent's rewards, or if its score is missing or ambiguous.
    """
    earned = 0
    if account in round_.parent_member_set:
        before = index.earned.get(account, set())
        if len(before) != 1:
            return None
        earned = next(iter(before))
    if account not in index.took_part:
        return earned
    scores = index.scores.get(account, set())
    if len(scores) != 1:
        return None
    committed = round_.committed
    share = share_of(committed.budget_wei, next(iter(scores)), committed.total_score)
    return (earned + share) % _MODULUS
