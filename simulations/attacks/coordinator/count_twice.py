"""ATTACK: one update is counted twice."""

from dataclasses import replace
from typing import Literal

from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.rules.base import Weighting, capped_examples
from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import CoordinatorContext, VictimAttack
from simulations.attacks.coordinator.forging import weighted


class CountTwice(VictimAttack):
    """Counts the victim's update twice, and another contributor's not at all."""

    kind: Literal["count_twice"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result with the victim's entry in two places, and matching weights."""
        place = context.place_of(result, self.victim)
        other = place + 1 if place + 1 < len(result.entries) else place - 1
        entries, updates = list(result.entries), list(result.updates)
        twin = replace(entries[place].leaf, index=entries[other].leaf.index)
        entries[other], updates[other] = replace(entries[place], leaf=twin), updates[place]
        rule = context.rule
        uniform = rule.weighting == Weighting.UNIFORM
        shares = [1 if uniform else capped_examples(rule, entry.leaf.examples) for entry in entries]
        weights = apportion(shares, [entry.leaf.contributor for entry in result.entries])
        return context.reaggregated(result, weighted(entries, weights), updates)
