"""All that the machine of :mod:`coordinator.core.rounds` knows of one round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from coordinator.core.round_events import UpdateRefused
from coordinator.core.types import Address, RoundId, SignedUpdate


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
    accepted: Mapping[Address, SignedUpdate] = field(default_factory=dict)
    refusals: tuple[UpdateRefused, ...] = ()
    equivocators: frozenset[Address] = frozenset()
    void_reason: str = ""
    sealed: bool = False
    commitments: Mapping[Address, bytes] = field(default_factory=dict)
    conflicted: frozenset[Address] = frozenset()
