"""The ``[[behaviours]]`` tables: which simulated contributors misbehave, how, from when.

What each does to an update or a reply is in :mod:`simulations.attacks.behaviours`.
"""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.settings.base import ClientIds, Section


class _Behaviour(Section):
    clients: ClientIds
    from_round: int = Field(default=1, ge=1)


class ReplayBehaviour(_Behaviour):
    """Free rider: sends the global model back, so that its update is zero."""

    kind: Literal["replay"]


class CopyBehaviour(_Behaviour):
    """Free rider: signs another contributor's update of the previous round as its own."""

    kind: Literal["copy"]


class PeekBehaviour(_Behaviour):
    """Free rider: signs what ``victim`` sends in the same round, which it overhears.

    In a sealed round all it can overhear in time is a commitment, and commits to the same.
    """

    kind: Literal["peek"]
    victim: int = Field(default=0, ge=0)


class NoiseBehaviour(_Behaviour):
    """Free rider: Gaussian noise, ``scale`` times as long as an honest update."""

    kind: Literal["noise"]
    scale: float = Field(default=1.0, gt=0.0, le=1e6)


class SignFlipBehaviour(_Behaviour):
    """Attack: the honest update times ``-scale``."""

    kind: Literal["sign_flip"]
    scale: float = Field(default=1.0, gt=0.0, le=1e6)


class EquivocateBehaviour(_Behaviour):
    """Signs two different updates for one round: provable on chain, and slashed."""

    kind: Literal["equivocate"]


class InflateBehaviour(_Behaviour):
    """Claims to have trained on ``examples`` examples, to weigh more than its share."""

    kind: Literal["inflate_examples"]
    examples: int = Field(default=1_000_000_000, ge=1, lt=2**63)


class NanBehaviour(_Behaviour):
    """Sends floats, the first of them NaN, where the update should be."""

    kind: Literal["nan"]


class WrongShapeBehaviour(_Behaviour):
    """Sends an update that is one value short."""

    kind: Literal["wrong_shape"]


class OutOfRangeBehaviour(_Behaviour):
    """Sends an update that no int32 model can take."""

    kind: Literal["out_of_range"]


class WrongRoundBehaviour(_Behaviour):
    """Signs for the round before."""

    kind: Literal["wrong_round"]


class BadSignatureBehaviour(_Behaviour):
    """Sends a signature that is not its own."""

    kind: Literal["bad_signature"]


class UnbondedBehaviour(_Behaviour):
    """Takes part without ever having bonded; ``from_round`` can only be 1."""

    kind: Literal["unbonded"]
    from_round: int = Field(default=1, ge=1, le=1)


class SilentBehaviour(_Behaviour):
    """Never answers."""

    kind: Literal["silent"]


BehaviourConfig = Annotated[
    ReplayBehaviour
    | CopyBehaviour
    | PeekBehaviour
    | NoiseBehaviour
    | SignFlipBehaviour
    | EquivocateBehaviour
    | InflateBehaviour
    | NanBehaviour
    | WrongShapeBehaviour
    | OutOfRangeBehaviour
    | WrongRoundBehaviour
    | BadSignatureBehaviour
    | UnbondedBehaviour
    | SilentBehaviour,
    Field(discriminator="kind"),
]
