"""ATTACK: a contributor's update is not counted."""

from typing import Literal

from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import CoordinatorContext, VictimAttack
from simulations.attacks.coordinator.forging import weighted


class DropWeight(VictimAttack):
    """Gives the victim weight 0, and its weight to the next contributor."""

    kind: Literal["drop_weight"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result under the changed weights."""
        place = context.place_of(result, self.victim)
        heir = (place + 1) % len(result.entries)
        weights = [entry.leaf.weight for entry in result.entries]
        weights[heir] += weights[place]
        weights[place] = 0
        return context.reaggregated(result, weighted(result.entries, weights), result.updates)
