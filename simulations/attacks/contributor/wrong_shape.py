"""A malformed reply: too few values."""

from dataclasses import replace
from typing import Literal

from simulations.attacks.contributor.base import AttackContext, ContributorAttack, Reply


class WrongShape(ContributorAttack):
    """Sends an update that is one value short."""

    kind: Literal["wrong_shape"]

    def change_reply(self, reply: Reply, context: AttackContext) -> Reply:
        """Return the vector without its last value."""
        return replace(reply, vector=reply.vector[:-1])
