"""ATTACK: an update is committed to and never published."""

from typing import Literal

from coordinator.protocol.types import Address
from simulations.attacks.coordinator.base import CoordinatorContext, VictimAttack


class Withhold(VictimAttack):
    """Commits to the victim's update, but never publishes it."""

    kind: Literal["withhold"]

    def withholds(self, contributor: Address, context: CoordinatorContext) -> bool:
        """Return whether this is the victim."""
        return contributor == context.clients[self.victim]
