"""An update that overflows int32 when it is added to the model."""

from typing import Literal

import numpy as np

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import INT32, ContributorAttack, UpdateContext


class OutOfRange(ContributorAttack):
    """Sends values at the ends of int32, which overflow once added to a model."""

    kind: Literal["out_of_range"]

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the largest int32 where the update is at least 0, the smallest elsewhere."""
        return np.where(update >= 0, INT32.max, INT32.min).astype(np.int32)
