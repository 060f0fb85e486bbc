"""Computes an honest coordinator's answers: columns, their entries, and the committed data.

Answers follow from the round alone, so anyone with the data can compute them; only a column's root
must come from the coordinator. Not handled: noticing that a case was opened.
"""

from coordinator.protocol.disputes import moves
from coordinator.protocol.disputes.cases import (
    CaseKind,
    ColumnAnswer,
    Evidence,
    OpenCase,
    leaf_words,
    rule_words,
)
from coordinator.protocol.disputes.columns import Column, payments_column, totals_column
from coordinator.protocol.disputes.records import (
    DisputedRound,
    reward_positions,
    score_and_proof,
)


def column_of(round_: DisputedRound, kind: CaseKind, parameter: int = 0) -> Column:
    """Return the right column of a round.

    Raises
    ------
    ValueError
        If the kind is not a column's, or a part of the round is not known.
    """
    committed = round_.committed
    if kind is CaseKind.AGGREGATE:
        return moves.expected_column(round_, parameter)
    leaves = [entry.leaf for entry in round_.known_entries]
    if kind is CaseKind.TOTALS:
        return totals_column(round_.known_rule, leaves)
    if kind is not CaseKind.PAYMENTS:
        raise ValueError(f"case kind {kind.name}: expected one of a column")
    given = {leaf.contributor: leaf for leaf in round_.known_scores}
    scores = [given[leaf.contributor] for leaf in leaves]
    return payments_column(committed.budget_wei, committed.total_score, scores)


def answer_to(round_: DisputedRound, case: OpenCase) -> ColumnAnswer | Evidence:
    """Return the answer to a case of an honest round."""
    if not case.kind.is_column:
        return _data(round_, case)
    column = column_of(round_, case.kind, case.index)
    if case.entry is None:
        return ColumnAnswer(case.case_id, column.root, column.lo, column.hi)
    entry, path = column.entries[case.entry], column.path(case.entry)
    return Evidence("answer_entry", (case.case_id, int(case.kind), entry, path))


def _data(round_: DisputedRound, case: OpenCase) -> Evidence:
    number = case.case_id
    if case.kind is CaseKind.RULE:
        return Evidence("answer_rule", (number, rule_words(round_.known_rule)))
    if case.kind in (CaseKind.BASE_MODEL, CaseKind.NEW_MODEL):
        proof = moves.model_chunk(round_, case.kind, case.chunk)
        words = (number, int(case.kind), rule_words(round_.known_rule))
        return Evidence("answer_model_chunk", (*words, proof.chunk, proof.siblings))
    if case.kind is CaseKind.REWARD:
        return _reward(round_, case)
    entry = round_.known_entries[case.index]
    leaf = (leaf_words(entry.leaf), round_.leaf_proof(case.index))
    if case.kind is CaseKind.CONTRIBUTOR:
        signed = (round_.metrics_hash(case.index), entry.signature)
        return Evidence("answer_contributor", (number, *leaf, *signed))
    if case.kind is CaseKind.SCORE:
        score = score_and_proof(round_, entry.leaf.contributor)
        return Evidence("answer_score", (number, *leaf, *score))
    proof = moves.update_chunk(round_, case.index, case.chunk)
    rule = rule_words(round_.known_rule)
    return Evidence("answer_update_chunk", (number, rule, *leaf, proof.chunk, proof.siblings))


def _reward(round_: DisputedRound, case: OpenCase) -> Evidence:
    at = reward_positions(round_).get(case.index)
    if at is None:
        raise ValueError(f"member {case.index} has no leaf in its place")
    cumulative = round_.known_rewards[at].cumulative_wei
    return Evidence("answer_reward", (case.case_id, cumulative, round_.rewards_tree.proof(at)))
