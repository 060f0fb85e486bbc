"""A free rider that signs another contributor's published update."""

from typing import ClassVar, Literal

import numpy as np

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import ContributorAttack, UpdateContext


class Copy(ContributorAttack):
    """Signs another contributor's update of the previous round as its own."""

    trains: ClassVar[bool] = False

    kind: Literal["copy"]

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the published update of the lowest other number, or zeros if there is none."""
        source = min(
            (other for other in context.published if other != context.client), default=None
        )
        return np.zeros_like(update) if source is None else context.published[source].copy()
