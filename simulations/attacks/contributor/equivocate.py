"""An offence: two signatures for one round."""

from typing import Literal

import numpy as np

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import ContributorAttack, UpdateContext


class Equivocate(ContributorAttack):
    """Signs two different updates for one round: provable on chain, and slashed."""

    kind: Literal["equivocate"]

    def second_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the update with its first value one nearer to zero (or 1, if it is zero)."""
        second = update.copy()
        second[0] = 1 if update[0] == 0 else update[0] - np.sign(update[0])
        return second
