"""The events of a round, and the effects that they lead to.

Plain frozen records; :mod:`coordinator.protocol.round.machine` says which event is legal in which
phase, and its effects.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.protocol.round.chain_round import Seal, Settlement
from coordinator.protocol.types import Address, Commitment, RoundId, Signed, UpdateMessage

# --- events: what has happened -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRequested:
    """The coordinator asks for the round to begin."""


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """The ledger has opened the round, now or before a restart.

    ``commitments`` are those on the ledger already, if a crash interrupted a sealed round after
    its commitments were closed.
    """

    deadline: int
    commitments: Mapping[Address, bytes] | None = None


@dataclass(frozen=True, slots=True)
class CommitmentAccepted:
    """One contributor's commitment of a sealed round passed every check."""

    signed: Signed[Commitment]


@dataclass(frozen=True, slots=True)
class CommitmentsConflicted:
    """A contributor signed two different commitments for this round: neither counts."""

    contributor: Address


@dataclass(frozen=True, slots=True)
class CommitmentsClosed:
    """Every awaited commitment has arrived, or their time is over."""


@dataclass(frozen=True, slots=True)
class UpdatesCommitted:
    """The ledger holds the commitments' root: updates may be revealed."""


@dataclass(frozen=True, slots=True)
class UpdateAccepted:
    """One update passed every check of screening."""

    signed: Signed[UpdateMessage]


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """One submission was refused; ``code`` is the reason's code."""

    sender: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Equivocated:
    """A contributor signed two different updates for this round."""

    first: Signed[UpdateMessage]
    second: Signed[UpdateMessage]


@dataclass(frozen=True, slots=True)
class CollectionClosed:
    """Every awaited reply has arrived, or the deadline has passed."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The rule was applied, and every blob that the seal commits to is durable."""


@dataclass(frozen=True, slots=True)
class AggregationFailed:
    """The rule could not be applied; the round cannot be sealed."""

    reason: str


@dataclass(frozen=True, slots=True)
class RoundSealed:
    """The ledger holds the contributors root and the new model root."""

    seal: Seal


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and rewards are computed and durable."""


@dataclass(frozen=True, slots=True)
class RoundSettled:
    """The ledger holds the scores root and the rewards root."""

    settlement: Settlement


@dataclass(frozen=True, slots=True)
class WindowPassed:
    """The challenge window has passed without a conviction.

    ``window_end`` is the first second of chain time after it.
    """

    window_end: int


@dataclass(frozen=True, slots=True)
class WindowExtended:
    """A dispute holds the round: it cannot be final yet."""


@dataclass(frozen=True, slots=True)
class RoundFinalized:
    """The ledger has paid the round."""


@dataclass(frozen=True, slots=True)
class RoundVoided:
    """The ledger has voided the round, or one that it builds on."""

    reason: str


Event = (
    OpenRequested
    | RoundOpened
    | CommitmentAccepted
    | CommitmentsConflicted
    | CommitmentsClosed
    | UpdatesCommitted
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
    | WindowExtended
    | RoundFinalized
    | RoundVoided
)


# --- effects: what is to be done -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Open the round on the ledger."""

    round_id: RoundId


@dataclass(frozen=True, slots=True)
class CommitUpdates:
    """Make the commitments document durable, then put its root on the ledger."""


@dataclass(frozen=True, slots=True)
class KeepUpdate:
    """Store an accepted update."""

    signed: Signed[UpdateMessage]


@dataclass(frozen=True, slots=True)
class DropUpdate:
    """Discard a contributor's update: it will not be aggregated."""

    contributor: Address


@dataclass(frozen=True, slots=True)
class SlashEquivocation:
    """Submit two signed updates of one contributor to the ledger, to slash its bond."""

    first: Signed[UpdateMessage]
    second: Signed[UpdateMessage]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Apply the rule to the accepted updates; make every blob durable."""


@dataclass(frozen=True, slots=True)
class SealRound:
    """Commit the result to the ledger."""


@dataclass(frozen=True, slots=True)
class ScoreRound:
    """Score the contributors and split the budget; make scores and rewards durable."""


@dataclass(frozen=True, slots=True)
class SettleRound:
    """Commit scores and rewards to the ledger."""


@dataclass(frozen=True, slots=True)
class FinalizeRound:
    """Make the round final on the ledger; ``window_end`` is as in :class:`WindowPassed`."""

    window_end: int


@dataclass(frozen=True, slots=True)
class VoidRound:
    """Void the round on the ledger."""

    reason: str


Effect = (
    OpenRound
    | CommitUpdates
    | KeepUpdate
    | DropUpdate
    | SlashEquivocation
    | Aggregate
    | SealRound
    | ScoreRound
    | SettleRound
    | FinalizeRound
    | VoidRound
)
