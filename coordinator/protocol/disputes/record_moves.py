"""Builds proofs that single records are wrong, and questions that open a case; see ``moves``."""

from typing import Any

from coordinator.protocol.disputes.cases import (
    CaseKind,
    Evidence,
    Proof,
    Question,
    leaf_words,
    rule_words,
    score_words,
)
from coordinator.protocol.disputes.records import DisputedRound, position_of, score_and_proof
from coordinator.protocol.types import Address, ContributorLeaf, RoundId, Wei, address_bytes

NOBODY = Address("0x" + "00" * 20)


# --- questions ---------------------------------------------------------------------------------


def challenge_column(round_: DisputedRound, parameter: int) -> Question:
    """Return the question for the column of one parameter."""
    words = rule_words(round_.known_rule)
    return Question("challenge_column", (round_.committed.round_id, words, parameter))


def challenge_totals(round_: DisputedRound) -> Question:
    """Return the question for the column of weights, examples and stakes."""
    return Question("challenge_totals", (round_.committed.round_id,))


def challenge_payments(round_: DisputedRound) -> Question:
    """Return the question for the column of scores and shares."""
    return Question("challenge_payments", (round_.committed.round_id,))


def demand_record(round_: DisputedRound, kind: CaseKind, index: int = 0) -> Question:
    """Return the question for the rule, or for a contributor, score (from 0) or reward (from 1)."""
    return Question("demand_record", (round_.committed.round_id, int(kind), index))


def demand_chunk(round_: DisputedRound, kind: CaseKind, chunk: int, index: int = 0) -> Question:
    """Return the question for a chunk of a model, or of the update of contributor ``index``."""
    words = rule_words(round_.known_rule)
    return Question("demand_chunk", (round_.committed.round_id, words, int(kind), index, chunk))


# --- contributors ------------------------------------------------------------------------------


def challenge_rule(round_: DisputedRound) -> Evidence:
    """Return the proof that the rule is invalid, or the contributors too few for it."""
    arguments = (round_.committed.round_id, rule_words(round_.known_rule))
    return Evidence("challenge_rule", arguments)


def challenge_leaf(round_: DisputedRound, position: int) -> Evidence:
    """Return the proof that a contributor's leaf is wrong by itself."""
    leaf = leaf_words(round_.known_entries[position].leaf)
    words = rule_words(round_.known_rule)
    arguments = (round_.committed.round_id, words, leaf, round_.leaf_proof(position))
    return Evidence("challenge_leaf", arguments)


def challenge_signature(round_: DisputedRound, position: int) -> Evidence:
    """Return the proof that a contributor's signature is invalid."""
    entry = round_.known_entries[position]
    arguments = (
        *(round_.committed.round_id, leaf_words(entry.leaf), round_.leaf_proof(position)),
        *(round_.metrics_hash(position), entry.signature),
    )
    return Evidence("challenge_signature", arguments)


def challenge_pair(round_: DisputedRound, first: int, second: int) -> Evidence:
    """Return the proof that two leaves contradict each other."""
    arguments: tuple[Any, ...] = (round_.committed.round_id, rule_words(round_.known_rule))
    for position in (first, second):
        leaf = leaf_words(round_.known_entries[position].leaf)
        arguments += (leaf, round_.leaf_proof(position))
    return Evidence("challenge_pair", arguments)


# --- scores and rewards --------------------------------------------------------------------------


def challenge_score(round_: DisputedRound, position: int, at: int) -> Evidence:
    """Return the proof that score ``at``, of the contributor at ``position``, is wrong."""
    leaf = round_.known_entries[position].leaf
    arguments = (
        *(round_.committed.round_id, rule_words(round_.known_rule)),
        *(leaf_words(leaf), round_.leaf_proof(position)),
        *(score_words(round_.known_scores[at]), round_.scores_tree.proof(at)),
    )
    return Evidence("challenge_score", arguments)


def challenge_score_form(round_: DisputedRound, at: int) -> Evidence:
    """Return the proof that the score at a position is of another round or too large."""
    score = score_words(round_.known_scores[at])
    arguments = (round_.committed.round_id, score, round_.scores_tree.proof(at))
    return Evidence("challenge_score_form", arguments)


def challenge_score_pair(round_: DisputedRound, first: int, second: int) -> Evidence:
    """Return the proof that one contributor has two different scores."""
    arguments: tuple[Any, ...] = (round_.committed.round_id,)
    for at in (first, second):
        arguments += (score_words(round_.known_scores[at]), round_.scores_tree.proof(at))
    return Evidence("challenge_score_pair", arguments)


def challenge_stray_score(round_: DisputedRound, at: int) -> Evidence:
    """Return the proof that the score at a position is of an account that took no part."""
    score = round_.known_scores[at]
    arguments = (
        *(round_.committed.round_id, score_words(score), round_.scores_tree.proof(at)),
        *_neighbours(round_, score.contributor),
    )
    return Evidence("challenge_stray_score", arguments)


def challenge_reward(round_: DisputedRound, at: int) -> Evidence:
    """Return the proof that the reward at a position does not follow from the parent round's."""
    leaf = round_.known_rewards[at]
    took_part = {entry.leaf.contributor for entry in round_.known_entries}
    common = (
        *(round_.committed.round_id, leaf.contributor, leaf.cumulative_wei),
        *(round_.rewards_tree.proof(at), *_previous(round_, leaf.contributor)),
    )
    if leaf.contributor in took_part:
        arguments = (*common, *score_and_proof(round_, leaf.contributor))
        return Evidence("challenge_reward", arguments)
    arguments = (*common, *_neighbours(round_, leaf.contributor))
    return Evidence("challenge_idle_reward", arguments)


def challenge_outsider(round_: DisputedRound, at: int) -> Evidence:
    """Return the proof that the reward at a position is of an account that was no member."""
    leaf = round_.known_rewards[at]
    arguments = (
        *(round_.committed.round_id, leaf.contributor, leaf.cumulative_wei),
        round_.rewards_tree.proof(at),
    )
    return Evidence("challenge_outsider", arguments)


def _previous(round_: DisputedRound, account: Address) -> tuple[Wei, Proof]:
    if account not in round_.parent_member_set:
        return Wei(0), ()
    leaves = round_.parent_rewards or ()
    at = position_of(leaves, account)
    return leaves[at].cumulative_wei, round_.parent_rewards_tree.proof(at)


def _neighbours(round_: DisputedRound, account: Address) -> tuple[Any, ...]:
    """Return the two leaves between which an account's would be, with their proofs."""
    entries = round_.known_entries
    here = address_bytes(account)
    behind = sum(address_bytes(entry.leaf.contributor) < here for entry in entries)
    # Not the last index, which the contract would treat as the last leaf.
    nothing = (_empty_leaf(round_.committed.n), ())
    before: tuple[Any, ...] = nothing
    after: tuple[Any, ...] = nothing
    if behind > 0:
        before = (leaf_words(entries[behind - 1].leaf), round_.leaf_proof(behind - 1))
    if behind < len(entries):
        after = (leaf_words(entries[behind].leaf), round_.leaf_proof(behind))
    return (*before, *after)


def _empty_leaf(index: int) -> tuple[Any, ...]:
    return leaf_words(
        ContributorLeaf(RoundId(0), index, NOBODY, bytes(32), 0, 0, Wei(0), bytes(32))
    )
