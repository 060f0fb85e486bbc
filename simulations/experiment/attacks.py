"""The ``[[coordinator_attacks]]`` tables: ATTACKS of a dishonest coordinator, one a round.

Each names the round in which it is tried. They exist to show that it is caught, and what that
costs; what each does is in :mod:`simulations.attacks.dishonest`. ``victim`` is the client it is
done to.
"""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.settings.base import Section


class _Attack(Section):
    round: int = Field(ge=1)


class _Victim(_Attack):
    victim: int = Field(default=0, ge=0)


class ShiftAttack(_Attack):
    """Adds ``amount`` units in the last place to one parameter of the new model.

    ``answers`` is what the coordinator does when asked for the parameter's column: shows the right
    one, a false one that leads to its result, or nothing.
    """

    kind: Literal["shift_parameter"]
    parameter: int = Field(default=0, ge=0)
    amount: int = Field(default=1)
    answers: Literal["right", "false", "none"] = "right"


class DropWeightAttack(_Victim):
    """Gives the victim weight 0, and its weight to the next contributor."""

    kind: Literal["drop_weight"]


class UnsignedLeafAttack(_Victim):
    """Replaces the victim's update by another one, which the victim never signed."""

    kind: Literal["unsigned_leaf"]


class CountTwiceAttack(_Victim):
    """Counts the victim's update twice, and another contributor's not at all."""

    kind: Literal["count_twice"]


class PaySelfAttack(_Attack):
    """Moves what the best-paid contributor earns in the round to the coordinator's account."""

    kind: Literal["pay_self"]


class WithholdAttack(_Victim):
    """Commits to the victim's update, but never publishes it."""

    kind: Literal["withhold"]


class SealEarlyAttack(_Attack):
    """Tries to seal before ``chain.min_open_s`` has passed; the contract refuses."""

    kind: Literal["seal_early"]


class SealTwiceAttack(_Attack):
    """Tries to seal a second result for the same round; the contract refuses."""

    kind: Literal["seal_twice"]


class AbandonRound(_Attack):
    """No attack: gives the round up before sealing. What a convicted run is compared with."""

    kind: Literal["abandon"]


AttackConfig = Annotated[
    ShiftAttack
    | DropWeightAttack
    | UnsignedLeafAttack
    | CountTwiceAttack
    | PaySelfAttack
    | WithholdAttack
    | SealEarlyAttack
    | SealTwiceAttack
    | AbandonRound,
    Field(discriminator="kind"),
]
