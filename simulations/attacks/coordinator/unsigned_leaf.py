"""ATTACK: an update is replaced by one that its contributor never signed."""

from dataclasses import replace
from typing import Literal

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import VictimAttack
from simulations.attacks.coordinator.forging import CoordinatorContext


class UnsignedLeaf(VictimAttack):
    """Replaces the victim's update by its negative, under the victim's old signature."""

    kind: Literal["unsigned_leaf"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result with the replaced update, which is stored."""
        place = context.place_of(result, self.victim)
        other = -result.updates[place]
        root = parameter_root(other, context.plan.manifest)
        context.store.put_vector(other, context.plan.manifest, root)
        entries, updates = list(result.entries), list(result.updates)
        leaf = replace(entries[place].leaf, update_root=root)
        entries[place], updates[place] = replace(entries[place], leaf=leaf), other
        return context.reaggregated(result, entries, updates)
