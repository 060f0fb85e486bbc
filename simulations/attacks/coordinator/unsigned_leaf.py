"""ATTACK: an update is replaced by one that its contributor never signed."""

from dataclasses import replace
from typing import Literal

from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import CoordinatorContext, VictimAttack


class UnsignedLeaf(VictimAttack):
    """Replaces the victim's update by its negative, under the victim's old signature."""

    kind: Literal["unsigned_leaf"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result with the replaced update, which is stored."""
        place = context.place_of(result, self.victim)
        other = -result.updates[place]
        root = context.keep(other)
        entries, updates = list(result.entries), list(result.updates)
        leaf = replace(entries[place].leaf, update_root=root)
        entries[place], updates[place] = replace(entries[place], leaf=leaf), other
        return context.reaggregated(result, entries, updates)
