"""The cases a watcher opened, and its next step in each as the coordinator answers.

Cases and published entries are read from the chain, never from memory, so a watcher that was killed
continues where it stopped (ADR 80).
"""

from collections.abc import Mapping

from contracts.binding.log_reader import EventFollower
from contracts.binding.referee import CaseRecord, CaseState, Referee, published_entry
from contracts.binding.referee_events import Answered, CaseClosed, CaseOpened, EntryDemanded
from coordinator.audit.watch.steps import DemandEntry, End, Key, NextStep, Prove, Wait
from coordinator.protocol.disputes import moves
from coordinator.protocol.disputes.answers import column_of
from coordinator.protocol.disputes.bisection import next_move
from coordinator.protocol.disputes.cases import CaseKind, Evidence, ProvenEntry
from coordinator.protocol.disputes.columns import Column
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address


class CaseBook:
    """The cases of one challenger with one referee, as the chain holds them now."""

    def __init__(self, referee: Referee, challenger: Address) -> None:
        self._referee, self._challenger = referee, challenger
        self._follower = EventFollower(referee.rpc, referee.events)
        self._mine: dict[int, Key] = {}
        self._closed: set[int] = set()
        self._demanded: dict[int, int] = {}
        self._entries: dict[int, dict[int, ProvenEntry]] = {}

    def refresh(self) -> None:
        """Read the referee's events since the last call."""
        for event in self._follower.new():
            match event:
                case CaseOpened() if event.challenger == self._challenger:
                    self._mine[event.id] = (event.round, event.kind, event.index, event.chunk)
                case EntryDemanded() if event.id in self._mine:
                    self._demanded[event.id] = event.index
                case Answered() if event.id in self._demanded:
                    _, proven = published_entry(event)
                    known = self._entries.setdefault(event.id, {})
                    known[self._demanded.pop(event.id)] = proven
                case CaseClosed():
                    self._closed.add(event.id)

    def asked(self) -> set[Key]:
        """Return every question this challenger ever asked."""
        return set(self._mine.values())

    def open(self) -> list[CaseRecord]:
        """Return the challenger's cases that have not ended."""
        return self._referee.open_cases(sorted(self._mine.keys() - self._closed))

    def entries(self, case_id: int) -> Mapping[int, ProvenEntry]:
        """Return the published entries of a case's column, by index."""
        return self._entries.get(case_id, {})


def next_step(
    case: CaseRecord,
    status: RoundStatus,
    round_: DisputedRound | None,
    known: Mapping[int, ProvenEntry],
    now: int,
) -> NextStep:
    """Return a challenger's next step in its open case.

    Parameters
    ----------
    status
        The round's, as the contract has it.
    round_
        Needed only where a column was answered and can still be refuted.
    known
        Entries of the answered column that have been published, by index.
    now
        Chain time of a transaction sent now.
    """
    if not status.is_disputable:
        return End("close")
    if case.state is CaseState.WAITING:
        return End("timeout") if now >= case.due else Wait(case.due)
    if now >= case.due:
        return End("close")
    if round_ is None:
        return Wait(case.due)
    try:
        return _refutation(case, round_, known)
    except ValueError:  # a part of the round is no longer available
        return Wait(case.due)


def _refutation(
    case: CaseRecord, round_: DisputedRound, known: Mapping[int, ProvenEntry]
) -> NextStep:
    expected = _expected(case, round_)
    entries = {index: proven.entry for index, proven in known.items()}
    move = next_move(expected, case.root, entries)
    if move.outcome == "demand":
        return DemandEntry(move.index)
    if move.outcome == "first":
        return Prove(moves.prove_first(case.case_id, case.kind, known[0]))
    if move.outcome == "step":
        return Prove(_step(case, round_, move.index, known))
    shown = ProvenEntry(expected.last, expected.path(move.index))
    return Prove(_last(case, round_, known.get(move.index, shown)))


def _expected(case: CaseRecord, round_: DisputedRound) -> Column:
    """Return the right column for the order statistics that the coordinator answered."""
    if case.kind is CaseKind.AGGREGATE:
        return moves.expected_column(round_, case.index, claimed=(case.lo, case.hi))
    return column_of(round_, case.kind)


def _step(
    case: CaseRecord, round_: DisputedRound, place: int, known: Mapping[int, ProvenEntry]
) -> Evidence:
    before, after = known[place], known[place + 1]
    if case.kind is CaseKind.AGGREGATE:
        return moves.prove_step(round_, case.case_id, case.index, place, before, after)
    if case.kind is CaseKind.TOTALS:
        return moves.prove_totals_step(round_, case.case_id, place, before, after)
    return moves.prove_payments_step(round_, case.case_id, place, before, after)


def _last(case: CaseRecord, round_: DisputedRound, last: ProvenEntry) -> Evidence:
    if case.kind is CaseKind.AGGREGATE:
        return moves.prove_last(round_, case.case_id, case.index, last)
    if case.kind is CaseKind.TOTALS:
        return moves.prove_totals_last(case.case_id, last)
    return moves.prove_payments_last(case.case_id, last)
