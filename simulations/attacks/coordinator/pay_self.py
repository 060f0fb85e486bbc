"""ATTACK: the coordinator pays itself."""

from dataclasses import replace
from typing import Literal

from coordinator.protocol.types import ScoredRound
from simulations.attacks.coordinator.base import CoordinatorAttack, CoordinatorContext


class PaySelf(CoordinatorAttack):
    """Puts its own account in the place of the best-paid contributor in the rewards tree.

    It gets all that this contributor has earned so far. The other leaves, their places and the sum
    stay right: each member has a fixed place (ADR 77), so one more leaf would displace others.
    """

    kind: Literal["pay_self"]

    def change_settlement(self, scored: ScoredRound, context: CoordinatorContext) -> ScoredRound:
        """Return the settlement with the coordinator's leaf in the place of the best-paid one."""
        best = max(scored.scores, key=lambda leaf: leaf.score).contributor
        rewards = [
            replace(leaf, contributor=context.coordinator) if leaf.contributor == best else leaf
            for leaf in scored.rewards
        ]
        return replace(scored, rewards=rewards)
