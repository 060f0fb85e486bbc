"""A contributor without a stake."""

from typing import ClassVar, Literal

from pydantic import Field

from simulations.attacks.contributor.base import ContributorAttack


class Unbonded(ContributorAttack):
    """Takes part without ever having bonded; ``from_round`` can only be 1."""

    bonds: ClassVar[bool] = False

    kind: Literal["unbonded"]
    from_round: int = Field(default=1, ge=1, le=1)
