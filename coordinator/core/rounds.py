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

from coordinator.core.errors import PhaseError
from coordinator.core.types import Address, RoundId, SignedUpdate


class Phase(Enum):
    """Where a round stands; the ``*ING`` phases wait for an effect to be carried out."""

    IDLE = "idle"
    OPENING = "opening"
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


# --- events: what has happened -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRequested:
    """Somebody wants the round to begin."""


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """The ledger has opened the round (or had, before a restart)."""

    deadline: int


@dataclass(frozen=True, slots=True)
class UpdateAccepted:
    """One update passed every check of the boundary."""

    signed: SignedUpdate


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """One submission did not pass; ``code`` is the screening reason."""

    sender: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Equivocated:
    """A contributor signed two different updates for this round."""

    first: SignedUpdate
    second: SignedUpdate


@dataclass(frozen=True, slots=True)
class CollectionClosed:
    """Every awaited reply is in, or the deadline has passed."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The rule has been applied and every blob the seal commits to is durable."""


@dataclass(frozen=True, slots=True)
class AggregationFailed:
    """The rule could not be applied; the round cannot be sealed."""

    reason: str


@dataclass(frozen=True, slots=True)
class RoundSealed:
    """The ledger holds the contributors root and the new model root."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and rewards are computed and durable."""


@dataclass(frozen=True, slots=True)
class RoundSettled:
    """The ledger holds the scores root and the rewards root."""


@dataclass(frozen=True, slots=True)
class WindowPassed:
    """The challenge window has passed unchallenged."""


@dataclass(frozen=True, slots=True)
class RoundFinalized:
    """The ledger has paid the round."""


@dataclass(frozen=True, slots=True)
class RoundVoided:
    """The ledger has voided the round, or one it stands on."""

    reason: str


Event = (
    OpenRequested
    | RoundOpened
    | UpdateAccepted
    | UpdateRefused
    | Equivocated
    | CollectionClosed
    | Aggregated
    | AggregationFailed
    | RoundSealed
    | Scored
    | RoundSettled
    | WindowPassed
    | RoundFinalized
    | RoundVoided
)


# --- effects: what is to be done -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Open the round on the ledger."""

    round_id: RoundId


@dataclass(frozen=True, slots=True)
class KeepUpdate:
    """Store an accepted update."""

    signed: SignedUpdate


@dataclass(frozen=True, slots=True)
class DropUpdate:
    """Forget a contributor's update: it will not be aggregated."""

    contributor: Address


@dataclass(frozen=True, slots=True)
class RecordRefusal:
    """Write a refusal into the round's record."""

    sender: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SlashEquivocation:
    """Bring both signatures to the ledger, when the collection is closed."""

    first: SignedUpdate
    second: SignedUpdate


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Apply the rule to the accepted updates; make every blob durable."""


@dataclass(frozen=True, slots=True)
class SealRound:
    """Commit the result to the ledger."""


@dataclass(frozen=True, slots=True)
class ScoreRound:
    """Score the contributors and split the budget."""


@dataclass(frozen=True, slots=True)
class SettleRound:
    """Commit scores and rewards to the ledger."""


@dataclass(frozen=True, slots=True)
class FinalizeRound:
    """Finalise on the ledger."""


@dataclass(frozen=True, slots=True)
class VoidRound:
    """Give the round up on the ledger."""

    reason: str


Effect = (
    OpenRound
    | KeepUpdate
    | DropUpdate
    | RecordRefusal
    | SlashEquivocation
    | Aggregate
    | SealRound
    | ScoreRound
    | SettleRound
    | FinalizeRound
    | VoidRound
)


# --- state and transitions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundState:
    """All the machine knows of one round.

    ``accepted`` maps a contributor to what it signed; ``equivocators`` may not submit again in
    this round. ``quorum`` is the larger of ``min_contributors`` and what the rule's fault bound
    asks for (``2f + 1``).
    """

    round_id: RoundId
    quorum: int
    phase: Phase = Phase.IDLE
    deadline: int = 0
    accepted: Mapping[Address, SignedUpdate] = field(default_factory=dict)
    refusals: tuple[UpdateRefused, ...] = ()
    equivocators: frozenset[Address] = frozenset()
    void_reason: str = ""


Step = tuple[RoundState, tuple[Effect, ...]]


def _open_requested(state: RoundState, _event: OpenRequested) -> Step:
    return replace(state, phase=Phase.OPENING), (OpenRound(state.round_id),)


def _opened(state: RoundState, event: RoundOpened) -> Step:
    return replace(state, phase=Phase.COLLECTING, deadline=event.deadline), ()


def _accepted(state: RoundState, event: UpdateAccepted) -> Step:
    contributor = event.signed.contributor
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
    contributor = event.first.contributor
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
        reason = f"too few updates: {found} of {state.quorum}"
        return replace(state, phase=Phase.VOIDING, void_reason=reason), (VoidRound(reason),)
    return replace(state, phase=Phase.AGGREGATING), (Aggregate(),)


def _aggregated(state: RoundState, _event: Aggregated) -> Step:
    return replace(state, phase=Phase.SEALING), (SealRound(),)


def _aggregation_failed(state: RoundState, event: AggregationFailed) -> Step:
    voiding = replace(state, phase=Phase.VOIDING, void_reason=event.reason)
    return voiding, (VoidRound(event.reason),)


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
