"""Finds the faults of a round, by kind and place, and how to prove each on chain.

Checks run in order of dependence: rule and leaves, then totals, the aggregate, scores and rewards.
Parts that depend on a broken part are not judged. Only faults that the referee can judge are
listed: norm bounds, server momentum, rules whose arithmetic the referee does not know, other scores
than ``examples`` and the manifest are re-executed by ``verify``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from coordinator.protocol.disputes import moves, record_moves
from coordinator.protocol.disputes.cases import CaseKind, Move
from coordinator.protocol.disputes.contributor_faults import contributor_faults
from coordinator.protocol.disputes.fault import Fault, FaultKind
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.disputes.settlement_faults import settlement_faults
from coordinator.protocol.errors import AggregationError, ConfigError
from coordinator.protocol.rules.chosen import chosen, is_provable
from coordinator.protocol.rules.rule import check_as_referee
from coordinator.protocol.types import Int32Vector


def find_faults(round_: DisputedRound) -> list[Fault]:
    """Return every provable fault of a sealed or settled round, the most basic first.

    If a vector is missing, the fault names its first chunk; any other may be demanded as well.
    """
    return list(_faults(round_))


def _faults(round_: DisputedRound) -> Iterator[Fault]:
    if round_.rule is None:
        yield Fault(FaultKind.RULE_WITHHELD, "the rule is not available")
        return
    invalid = rule_offence(round_)
    if invalid:
        yield Fault(FaultKind.RULE_INVALID, invalid)
        return
    if not _has_contributors(round_):
        yield Fault(FaultKind.CONTRIBUTOR_WITHHELD, "the contributors are not available")
        return
    sound = True
    for fault in contributor_faults(round_):
        sound = False
        yield fault
    for fault in withheld_vectors(round_):
        sound = False
        yield fault
    if sound:
        yield from aggregate_faults(round_)
    if round_.committed.is_settled:
        yield from settlement_faults(round_)


def _has_contributors(round_: DisputedRound) -> bool:
    if round_.entries is None or len(round_.entries) != round_.committed.n:
        return False
    # Leaves with their own proofs have been checked against the root one by one.
    standard = round_.leaf_proofs is None
    return not standard or round_.contributors.root == round_.committed.contributors_root


def rule_offence(round_: DisputedRound) -> str:
    """Return why the rule is invalid, or invalid for so few contributors; empty if it is valid."""
    try:
        check_as_referee(round_.known_rule, round_.committed.n)
    except (ConfigError, AggregationError) as refused:
        return str(refused)
    return ""


def withheld_vectors(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault for each model and update that is not available."""
    if round_.base_model is None:
        yield Fault(FaultKind.BASE_MODEL_WITHHELD, "the base model is not available")
    if round_.new_model is None:
        yield Fault(FaultKind.NEW_MODEL_WITHHELD, "the new model is not available")
    updates = round_.updates or [None] * round_.committed.n
    for entry, update in zip(round_.known_entries, updates, strict=True):
        if update is None:
            detail = f"the update of {entry.leaf.contributor} is not available"
            yield Fault(FaultKind.UPDATE_WITHHELD, detail, entry.leaf.index)


def aggregate_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault with the first wrong parameter; vectors and weights must be right.

    Yields none under server momentum, whose velocity is not committed, nor for a kind of rule whose
    arithmetic the contract does not know (ADR 132).
    """
    if round_.known_rule.server_momentum_q16 or not is_provable(round_.known_rule):
        return
    wrong = wrong_parameters(round_)
    if wrong.size:
        first = int(wrong[0])
        detail = f"parameter {first} is {int(round_.model(CaseKind.NEW_MODEL)[first])}"
        detail += f", one of {wrong.size} that do not follow"
        yield Fault(FaultKind.AGGREGATE, detail, first, int(wrong.size))


def wrong_parameters(round_: DisputedRound) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the indices of the new model's wrong parameters, ascending.

    If the right value is outside the int32 range, no committed value is right.
    """
    rule = round_.known_rule
    entries = round_.known_entries
    updates: list[Int32Vector] = [round_.update(i) for i in range(len(entries))]
    weights = [entry.leaf.weight for entry in entries]
    delta = chosen(rule).aggregate(updates, weights, num_byzantine=rule.num_byzantine)
    # At most 2^32 * 2^31: no int64 overflows.
    step = (np.int64(rule.server_lr_q16) * delta.astype(np.int64) + (1 << 15)) >> 16
    moved = round_.model(CaseKind.BASE_MODEL).astype(np.int64) + step
    published = round_.model(CaseKind.NEW_MODEL)
    limits = np.iinfo(np.int32)
    wrong = (moved != published) | (step < limits.min) | (step > limits.max)
    return np.flatnonzero(wrong)


# --- proving ----------------------------------------------------------------------------------


def moves_against(round_: DisputedRound, fault: Fault) -> list[Move]:
    """Return the moves that can be sent to the referee about a fault, the quickest first.

    Evidence convicts in one transaction. A question opens a case: the coordinator is convicted if
    it does not answer, or if its answer is refuted (``bisection``).
    """
    return _MOVES[fault.kind](round_, fault)


def _against_aggregate(round_: DisputedRound, fault: Fault) -> list[Move]:
    ways: list[Move] = []
    if moves.fits_directly(round_.known_rule, round_.committed.n):
        ways.append(moves.challenge_chunk(round_, fault.place))
    if round_.known_rule.chunk_values <= moves.CASE_CHUNK_VALUES:
        ways.append(record_moves.challenge_column(round_, fault.place))
    return ways


def _demand(kind: CaseKind) -> Callable[[DisputedRound, Fault], list[Move]]:
    return lambda round_, fault: [record_moves.demand_record(round_, kind, fault.place)]


def _demand_chunk(kind: CaseKind) -> Callable[[DisputedRound, Fault], list[Move]]:
    def ask(round_: DisputedRound, fault: Fault) -> list[Move]:
        if round_.known_rule.chunk_values > moves.CASE_CHUNK_VALUES:
            return []
        is_update = kind is CaseKind.UPDATE
        chunk, index = (fault.other, fault.place) if is_update else (fault.place, 0)
        return [record_moves.demand_chunk(round_, kind, chunk, index)]

    return ask


_MOVES: Final[Mapping[FaultKind, Callable[[DisputedRound, Fault], list[Move]]]] = {
    FaultKind.RULE_WITHHELD: _demand(CaseKind.RULE),
    FaultKind.RULE_INVALID: lambda r, _: [record_moves.challenge_rule(r)],
    FaultKind.CONTRIBUTOR_WITHHELD: _demand(CaseKind.CONTRIBUTOR),
    FaultKind.LEAF: lambda r, f: [record_moves.challenge_leaf(r, f.place)],
    FaultKind.SIGNATURE: lambda r, f: [record_moves.challenge_signature(r, f.place)],
    FaultKind.PAIR: lambda r, f: [record_moves.challenge_pair(r, f.place, f.other)],
    FaultKind.TOTALS: lambda r, _: [record_moves.challenge_totals(r)],
    FaultKind.BASE_MODEL_WITHHELD: _demand_chunk(CaseKind.BASE_MODEL),
    FaultKind.NEW_MODEL_WITHHELD: _demand_chunk(CaseKind.NEW_MODEL),
    FaultKind.UPDATE_WITHHELD: _demand_chunk(CaseKind.UPDATE),
    FaultKind.AGGREGATE: _against_aggregate,
    FaultKind.SCORE_WITHHELD: _demand(CaseKind.SCORE),
    FaultKind.SCORE: lambda r, f: [record_moves.challenge_score(r, f.place, f.other)],
    FaultKind.SCORE_FORM: lambda r, f: [record_moves.challenge_score_form(r, f.place)],
    FaultKind.SCORE_PAIR: lambda r, f: [record_moves.challenge_score_pair(r, f.place, f.other)],
    FaultKind.SCORE_STRAY: lambda r, f: [record_moves.challenge_stray_score(r, f.place)],
    FaultKind.PAYMENTS: lambda r, _: [record_moves.challenge_payments(r)],
    FaultKind.REWARD_WITHHELD: _demand(CaseKind.REWARD),
    FaultKind.REWARD: lambda r, f: [record_moves.challenge_reward(r, f.place)],
    FaultKind.REWARD_OUTSIDER: lambda r, f: [record_moves.challenge_outsider(r, f.place)],
}
