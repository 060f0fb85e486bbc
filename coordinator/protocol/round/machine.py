"""The round as a state machine: events in; a new state and a list of effects out.

One machine serves simulation, daemon and tests. It holds no vectors, no keys and no clock:
adapters carry out the effects and report what came of them as further events. All legal
transitions sit in ``TRANSITIONS``; anything else raises :class:`PhaseError`.

Not handled here: how updates are screened (``screening``), aggregated (``aggregation``) or
stored. Rounds stack, so several machines may be alive at once, one per round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

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
    RecordRefusal,
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
    WindowPassed,
)
from coordinator.protocol.types import Address, RoundId, Signed, UpdateMessage


class Phase(Enum):
    """Where a round stands.

    A round gathers commitments first if it is sealed, then collects updates; the other ``*ING``
    phases wait for an effect to be carried out.
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


# --- state and transitions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundState:
    """All the machine knows of one round.

    ``accepted`` maps a contributor to what it signed; ``equivocators`` may not submit again in
    this round. In a ``sealed`` round ``commitments`` are what updates must open, and
    ``conflicted`` are those who committed to two things at once.
    ``quorum`` is the larger of ``min_contributors`` and what the rule's fault bound
    asks for (``2f + 1``).
    """

    round_id: RoundId
    quorum: int
    phase: Phase = Phase.IDLE
    deadline: int = 0
    accepted: Mapping[Address, Signed[UpdateMessage]] = field(default_factory=dict)
    refusals: tuple[UpdateRefused, ...] = ()
    equivocators: frozenset[Address] = frozenset()
    void_reason: str = ""
    sealed: bool = False
    commitments: Mapping[Address, bytes] = field(default_factory=dict)
    conflicted: frozenset[Address] = frozenset()


__all__ = [
    "TRANSITIONS",
    "Aggregate",
    "Aggregated",
    "AggregationFailed",
    "CollectionClosed",
    "CommitUpdates",
    "CommitmentAccepted",
    "CommitmentsClosed",
    "CommitmentsConflicted",
    "DropUpdate",
    "Effect",
    "Equivocated",
    "Event",
    "FinalizeRound",
    "KeepUpdate",
    "OpenRequested",
    "OpenRound",
    "Phase",
    "RecordRefusal",
    "RoundFinalized",
    "RoundOpened",
    "RoundSealed",
    "RoundSettled",
    "RoundState",
    "RoundVoided",
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
    "WindowPassed",
    "transition",
]


Step = tuple[RoundState, tuple[Effect, ...]]


def _open_requested(state: RoundState, _event: OpenRequested) -> Step:
    return replace(state, phase=Phase.OPENING), (OpenRound(state.round_id),)


def _opened(state: RoundState, event: RoundOpened) -> Step:
    opened = replace(state, phase=Phase.COLLECTING, deadline=event.deadline)
    if not state.sealed:
        return opened, ()
    if event.commitments is None:
        return replace(opened, phase=Phase.GATHERING), ()
    return replace(opened, commitments=dict(event.commitments)), ()


def _committed(state: RoundState, event: CommitmentAccepted) -> Step:
    contributor = event.signed.signer
    if contributor in state.commitments or contributor in state.conflicted:
        raise PhaseError(
            f"round {state.round_id}: a commitment of {contributor} is already decided; screening "
            "must report a repeat or a conflict instead of accepting twice"
        )
    commitments = {**state.commitments, contributor: event.signed.statement.commitment}
    return replace(state, commitments=commitments), ()


def _conflicted(state: RoundState, event: CommitmentsConflicted) -> Step:
    contributor = event.contributor
    refusal = UpdateRefused(
        contributor, "conflicting-commitment", "signed two different commitments for one round"
    )
    new = replace(
        state,
        commitments={a: c for a, c in state.commitments.items() if a != contributor},
        conflicted=state.conflicted | {contributor},
        refusals=(*state.refusals, refusal),
    )
    return new, (RecordRefusal(refusal.sender, refusal.code, refusal.message),)


def _gathered(state: RoundState, _event: CommitmentsClosed) -> Step:
    found = len(state.commitments)
    if found < state.quorum:
        return _given_up(state, f"too few commitments: {found} of {state.quorum}")
    return replace(state, phase=Phase.COMMITTING), (CommitUpdates(),)


def _on_ledger(state: RoundState, _event: UpdatesCommitted) -> Step:
    return replace(state, phase=Phase.COLLECTING), ()


def _accepted(state: RoundState, event: UpdateAccepted) -> Step:
    contributor = event.signed.signer
    if contributor in state.accepted or contributor in state.equivocators:
        raise PhaseError(
            f"round {state.round_id}: an update of {contributor} is already decided; screening "
            "must report a repeat or an equivocation instead of accepting twice"
        )
    accepted = {**state.accepted, contributor: event.signed}
    return replace(state, accepted=accepted), (KeepUpdate(event.signed),)


def _refused(state: RoundState, event: UpdateRefused) -> Step:
    refused = replace(state, refusals=(*state.refusals, event))
    return refused, (RecordRefusal(event.sender, event.code, event.message),)


def _equivocated(state: RoundState, event: Equivocated) -> Step:
    contributor = event.first.signer
    accepted = {a: s for a, s in state.accepted.items() if a != contributor}
    refusal = UpdateRefused(
        contributor, "equivocation", "signed two different updates for one round"
    )
    new = replace(
        state,
        accepted=accepted,
        equivocators=state.equivocators | {contributor},
        refusals=(*state.refusals, refusal),
    )
    effects: tuple[Effect, ...] = (
        DropUpdate(contributor),
        RecordRefusal(refusal.sender, refusal.code, refusal.message),
        SlashEquivocation(event.first, event.second),
    )
    return new, effects


def _closed(state: RoundState, _event: CollectionClosed) -> Step:
    found = len(state.accepted)
    if found < state.quorum:
        return _given_up(state, f"too few updates: {found} of {state.quorum}")
    return replace(state, phase=Phase.AGGREGATING), (Aggregate(),)


def _aggregated(state: RoundState, _event: Aggregated) -> Step:
    return replace(state, phase=Phase.SEALING), (SealRound(),)


def _aggregation_failed(state: RoundState, event: AggregationFailed) -> Step:
    return _given_up(state, event.reason)


def _given_up(state: RoundState, reason: str) -> Step:
    return replace(state, phase=Phase.VOIDING, void_reason=reason), (VoidRound(reason),)


def _sealed(state: RoundState, _event: RoundSealed) -> Step:
    return replace(state, phase=Phase.SCORING), (ScoreRound(),)


def _scored(state: RoundState, _event: Scored) -> Step:
    return replace(state, phase=Phase.SETTLING), (SettleRound(),)


def _settled(state: RoundState, _event: RoundSettled) -> Step:
    return replace(state, phase=Phase.SETTLED), ()


def _window_passed(state: RoundState, _event: WindowPassed) -> Step:
    return replace(state, phase=Phase.FINALIZING), (FinalizeRound(),)


def _finalized(state: RoundState, _event: RoundFinalized) -> Step:
    return replace(state, phase=Phase.FINAL), ()


def _voided(state: RoundState, event: RoundVoided) -> Step:
    return replace(state, phase=Phase.VOID, void_reason=event.reason), ()


TRANSITIONS: dict[tuple[Phase, type[Any]], Callable[[RoundState, Any], Step]] = {
    (Phase.IDLE, OpenRequested): _open_requested,
    (Phase.OPENING, RoundOpened): _opened,
    (Phase.GATHERING, CommitmentAccepted): _committed,
    (Phase.GATHERING, CommitmentsConflicted): _conflicted,
    (Phase.GATHERING, UpdateRefused): _refused,
    (Phase.GATHERING, CommitmentsClosed): _gathered,
    (Phase.COMMITTING, UpdatesCommitted): _on_ledger,
    (Phase.COLLECTING, UpdateAccepted): _accepted,
    (Phase.COLLECTING, UpdateRefused): _refused,
    (Phase.COLLECTING, Equivocated): _equivocated,
    (Phase.COLLECTING, CollectionClosed): _closed,
    (Phase.AGGREGATING, Aggregated): _aggregated,
    (Phase.AGGREGATING, AggregationFailed): _aggregation_failed,
    (Phase.SEALING, RoundSealed): _sealed,
    (Phase.SCORING, Scored): _scored,
    (Phase.SETTLING, RoundSettled): _settled,
    (Phase.SETTLED, WindowPassed): _window_passed,
    (Phase.FINALIZING, RoundFinalized): _finalized,
    # A round can become void while anything but finished: its own deadline, or a fraud below it.
    **{
        (phase, RoundVoided): _voided
        for phase in Phase
        if phase not in (Phase.IDLE, Phase.FINAL, Phase.VOID)
    },
}


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
    handler = TRANSITIONS.get((state.phase, type(event)))
    if handler is None:
        legal = sorted(
            event_type.__name__ for phase, event_type in TRANSITIONS if phase is state.phase
        )
        raise PhaseError(
            f"round {state.round_id} is {state.phase.value}: {type(event).__name__} is not "
            f"allowed, expected one of {', '.join(legal) or 'nothing (the round is over)'}"
        )
    return handler(state, event)
