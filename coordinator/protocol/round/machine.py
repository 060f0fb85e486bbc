"""The round as a state machine: events in; a new state and a list of effects out.

One machine serves simulation, service and tests. It holds no vectors, no keys and no clock: the
service carries out the effects and reports their results as further events. ``TABLE`` lists for
each phase the allowed events, the next phase and the effects; ``CHANGES`` lists the fields that
each event changes (ADR 136). An event that the table does not list raises :class:`PhaseError`.

Not handled: screening (``screening``), aggregating (``rules``) and storing updates. Rounds build on
each other, so several machines may be in use at once, one per round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from coordinator.protocol.errors import PhaseError
from coordinator.protocol.round.events import (
    Aggregate,
    Aggregated,
    AggregationFailed,
    CollectionClosed,
    CommitmentAccepted,
    CommitmentsClosed,
    CommitmentsConflicted,
    CommitUpdates,
    DropUpdate,
    Effect,
    Equivocated,
    Event,
    FinalizeRound,
    KeepUpdate,
    OpenRequested,
    OpenRound,
    RoundFinalized,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    Scored,
    ScoreRound,
    SealRound,
    SettleRound,
    SlashEquivocation,
    UpdateAccepted,
    UpdateRefused,
    UpdatesCommitted,
    VoidRound,
    WindowExtended,
    WindowPassed,
)
from coordinator.protocol.types import (
    Address,
    RoundId,
    Signed,
    UpdateMessage,
    address_bytes,
)

__all__ = [
    "CHANGES",
    "ENOUGH",
    "TABLE",
    "TRANSITIONS",
    "Aggregate",
    "Aggregated",
    "AggregationFailed",
    "CollectionClosed",
    "CommitUpdates",
    "CommitmentAccepted",
    "CommitmentsClosed",
    "CommitmentsConflicted",
    "Condition",
    "DropUpdate",
    "Effect",
    "Equivocated",
    "Event",
    "FinalizeRound",
    "KeepUpdate",
    "OpenRequested",
    "OpenRound",
    "Phase",
    "RoundFinalized",
    "RoundOpened",
    "RoundSealed",
    "RoundSettled",
    "RoundState",
    "RoundVoided",
    "Row",
    "ScoreRound",
    "Scored",
    "SealRound",
    "SettleRound",
    "SlashEquivocation",
    "Step",
    "UpdateAccepted",
    "UpdateRefused",
    "UpdatesCommitted",
    "VoidRound",
    "WindowExtended",
    "WindowPassed",
    "transition",
]


class Phase(Enum):
    """The phases of a round.

    A sealed round first gathers commitments; then every round collects updates. The other ``*ING``
    phases wait until an effect has been carried out.
    """

    IDLE = "idle"
    OPENING = "opening"
    GATHERING = "gathering"
    COMMITTING = "committing"
    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    SEALING = "sealing"
    SCORING = "scoring"
    SETTLING = "settling"
    SETTLED = "settled"
    FINALIZING = "finalizing"
    FINAL = "final"
    VOIDING = "voiding"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class RoundState:
    """The machine's state of one round.

    Attributes
    ----------
    quorum
        The larger of ``min_contributors`` and the number that the rule's fault bound requires.
    deadline
        Chain time in seconds at which the round expires.
    accepted
        The signed statement of each accepted update, by contributor.
    refusals
        Refused submissions. The effects that decide a round write them into its journal.
    evidence
        Two different updates that one contributor signed for this round, by contributor.
    void_reason
        Why the round is void or is about to be; empty otherwise.
    sealed
        Whether the round takes commitments first.
    commitments, conflicted
        The commitments that updates must open, by contributor; contributors that signed two.
    """

    round_id: RoundId
    quorum: int
    phase: Phase = Phase.IDLE
    deadline: int = 0
    accepted: Mapping[Address, Signed[UpdateMessage]] = field(default_factory=dict)
    refusals: tuple[UpdateRefused, ...] = ()
    evidence: Mapping[Address, tuple[Signed[UpdateMessage], Signed[UpdateMessage]]] = field(
        default_factory=dict
    )
    void_reason: str = ""
    sealed: bool = False
    commitments: Mapping[Address, bytes] = field(default_factory=dict)
    conflicted: frozenset[Address] = frozenset()

    @property
    def equivocators(self) -> frozenset[Address]:
        """Contributors that signed two different updates: they may not submit again."""
        return frozenset(self.evidence)


# --- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a row besides phase and event, tested after the event's changes."""

    text: str
    holds: Callable[[RoundState, Any], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One legal transition. Of rows with the same phase and event the first that holds applies."""

    phase: Phase
    event: type[Any]
    next_phase: Phase
    effects: tuple[type[Any], ...] = ()
    when: Condition | None = None


COMMITS_FIRST: Final = Condition(
    "sealed, and no commitments on the ledger yet",
    lambda state, event: state.sealed and event.commitments is None,
)
ENOUGH: Final = Condition("the quorum is met", lambda state, _event: not state.void_reason)

TABLE: Final[tuple[Row, ...]] = (
    Row(Phase.IDLE, OpenRequested, Phase.OPENING, (OpenRound,)),
    Row(Phase.OPENING, RoundOpened, Phase.GATHERING, when=COMMITS_FIRST),
    Row(Phase.OPENING, RoundOpened, Phase.COLLECTING),
    Row(Phase.GATHERING, CommitmentAccepted, Phase.GATHERING),
    Row(Phase.GATHERING, CommitmentsConflicted, Phase.GATHERING),
    Row(Phase.GATHERING, UpdateRefused, Phase.GATHERING),
    Row(Phase.GATHERING, CommitmentsClosed, Phase.COMMITTING, (CommitUpdates,), ENOUGH),
    Row(Phase.GATHERING, CommitmentsClosed, Phase.VOIDING, (VoidRound,)),
    Row(Phase.COMMITTING, UpdatesCommitted, Phase.COLLECTING),
    Row(Phase.COLLECTING, UpdateAccepted, Phase.COLLECTING, (KeepUpdate,)),
    Row(Phase.COLLECTING, UpdateRefused, Phase.COLLECTING),
    Row(Phase.COLLECTING, Equivocated, Phase.COLLECTING, (DropUpdate,)),
    Row(
        Phase.COLLECTING,
        CollectionClosed,
        Phase.AGGREGATING,
        (SlashEquivocation, Aggregate),
        ENOUGH,
    ),
    Row(Phase.COLLECTING, CollectionClosed, Phase.VOIDING, (SlashEquivocation, VoidRound)),
    Row(Phase.AGGREGATING, Aggregated, Phase.SEALING, (SealRound,)),
    Row(Phase.AGGREGATING, AggregationFailed, Phase.VOIDING, (VoidRound,)),
    Row(Phase.SEALING, RoundSealed, Phase.SCORING, (ScoreRound,)),
    Row(Phase.SCORING, Scored, Phase.SETTLING, (SettleRound,)),
    Row(Phase.SETTLING, RoundSettled, Phase.SETTLED),
    Row(Phase.SETTLED, WindowPassed, Phase.FINALIZING, (FinalizeRound,)),
    Row(Phase.FINALIZING, RoundFinalized, Phase.FINAL),
    Row(Phase.FINALIZING, WindowExtended, Phase.SETTLED),
    # The ledger may void a round at any time: because of its deadline, or of a fraud in it or in a
    # round it builds on. The coordinator notices at its next write to the ledger, so in one of
    # these phases.
    *(
        Row(phase, RoundVoided, Phase.VOID)
        for phase in (
            Phase.COMMITTING,
            Phase.AGGREGATING,
            Phase.SEALING,
            Phase.SETTLING,
            Phase.FINALIZING,
            Phase.VOIDING,
        )
    ),
)

TRANSITIONS: Final[Mapping[tuple[Phase, type[Any]], tuple[Row, ...]]] = {
    key: tuple(row for row in TABLE if (row.phase, row.event) == key)
    for key in {(row.phase, row.event): None for row in TABLE}
}
"""``TABLE`` by phase and event."""


# --- data: which fields an event changes, whatever the phase ------------------------------------


def _opened(state: RoundState, event: RoundOpened) -> RoundState:
    commitments = dict(event.commitments or {}) if state.sealed else {}
    return replace(state, deadline=event.deadline, commitments=commitments)


def _committed(state: RoundState, event: CommitmentAccepted) -> RoundState:
    contributor = event.signed.signer
    if contributor in state.commitments or contributor in state.conflicted:
        raise PhaseError(
            f"round {state.round_id}: a commitment of {contributor} is already decided; screening "
            "must report a repeat or a conflict instead of accepting twice"
        )
    commitments = {**state.commitments, contributor: event.signed.statement.commitment}
    return replace(state, commitments=commitments)


def _conflicted(state: RoundState, event: CommitmentsConflicted) -> RoundState:
    contributor = event.contributor
    refusal = UpdateRefused(
        contributor, "conflicting-commitment", "signed two different commitments for one round"
    )
    return replace(
        state,
        commitments={a: c for a, c in state.commitments.items() if a != contributor},
        conflicted=state.conflicted | {contributor},
        refusals=(*state.refusals, refusal),
    )


def _commitments_closed(state: RoundState, _event: CommitmentsClosed) -> RoundState:
    return replace(state, void_reason=_shortage(state, "commitments", len(state.commitments)))


def _accepted(state: RoundState, event: UpdateAccepted) -> RoundState:
    contributor = event.signed.signer
    if contributor in state.accepted or contributor in state.equivocators:
        raise PhaseError(
            f"round {state.round_id}: an update of {contributor} is already decided; screening "
            "must report a repeat or an equivocation instead of accepting twice"
        )
    return replace(state, accepted={**state.accepted, contributor: event.signed})


def _refused(state: RoundState, event: UpdateRefused) -> RoundState:
    return replace(state, refusals=(*state.refusals, event))


def _equivocated(state: RoundState, event: Equivocated) -> RoundState:
    contributor = event.first.signer
    refusal = UpdateRefused(
        contributor, "equivocation", "signed two different updates for one round"
    )
    return replace(
        state,
        accepted={a: s for a, s in state.accepted.items() if a != contributor},
        evidence={**state.evidence, contributor: (event.first, event.second)},
        refusals=(*state.refusals, refusal),
    )


def _collection_closed(state: RoundState, _event: CollectionClosed) -> RoundState:
    return replace(state, void_reason=_shortage(state, "updates", len(state.accepted)))


def _given_up(state: RoundState, event: AggregationFailed | RoundVoided) -> RoundState:
    return replace(state, void_reason=event.reason)


def _shortage(state: RoundState, items: str, count: int) -> str:
    return "" if count >= state.quorum else f"too few {items}: {count} of {state.quorum}"


CHANGES: Final[Mapping[type[Any], Callable[[RoundState, Any], RoundState]]] = {
    RoundOpened: _opened,
    CommitmentAccepted: _committed,
    CommitmentsConflicted: _conflicted,
    CommitmentsClosed: _commitments_closed,
    UpdateAccepted: _accepted,
    UpdateRefused: _refused,
    Equivocated: _equivocated,
    CollectionClosed: _collection_closed,
    AggregationFailed: _given_up,
    RoundVoided: _given_up,
}
"""Events that are not listed change only the phase."""


# --- effects: their arguments -------------------------------------------------------------------


def _slashes(state: RoundState, _event: CollectionClosed) -> tuple[Effect, ...]:
    """Return the pairs of statements in order of address, each in order of update root.

    Sorted, because the same set of replies in any order must lead to the same blocks.
    """
    pairs = (
        state.evidence[contributor] for contributor in sorted(state.evidence, key=address_bytes)
    )
    ordered = (sorted(pair, key=lambda signed: signed.statement.update) for pair in pairs)
    return tuple(SlashEquivocation(first, second) for first, second in ordered)


_MADE_BY: Final[Mapping[type[Any], Callable[[RoundState, Any], tuple[Effect, ...]]]] = {
    OpenRound: lambda state, _event: (OpenRound(state.round_id),),
    KeepUpdate: lambda _state, event: (KeepUpdate(event.signed),),
    DropUpdate: lambda _state, event: (DropUpdate(event.first.signer),),
    SlashEquivocation: _slashes,
    FinalizeRound: lambda _state, event: (FinalizeRound(event.window_end),),
    VoidRound: lambda state, _event: (VoidRound(state.void_reason),),
}


def _effects(row: Row, state: RoundState, event: Event) -> tuple[Effect, ...]:
    return tuple(
        effect
        for kind in row.effects
        for effect in (_MADE_BY[kind](state, event) if kind in _MADE_BY else (kind(),))
    )


Step = tuple[RoundState, tuple[Effect, ...]]


def transition(state: RoundState, event: Event) -> Step:
    """Apply one event.

    Raises
    ------
    PhaseError
        If the round's phase does not allow the event; the state is unchanged.

    Examples
    --------
    >>> from coordinator.protocol.types import RoundId
    >>> state, effects = transition(RoundState(RoundId(1), quorum=2), OpenRequested())
    >>> state.phase, effects
    (<Phase.OPENING: 'opening'>, (OpenRound(round_id=1),))
    """
    kind = type(event)
    rows = TRANSITIONS.get((state.phase, kind))
    if rows is None:
        legal = sorted(row.event.__name__ for row in TABLE if row.phase is state.phase)
        allowed = ", ".join(dict.fromkeys(legal)) or "nothing (the round is over)"
        raise PhaseError(
            f"round {state.round_id} is {state.phase.value}: {kind.__name__} is not allowed, "
            f"expected one of {allowed}"
        )
    changed = CHANGES[kind](state, event) if kind in CHANGES else state
    row = next(row for row in rows if row.when is None or row.when.holds(changed, event))
    return replace(changed, phase=row.next_phase), _effects(row, changed, event)
