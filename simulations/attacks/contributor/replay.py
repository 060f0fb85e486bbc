"""A free rider that sends the global model back."""

from typing import ClassVar, Literal

import numpy as np

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import ContributorAttack, UpdateContext


class Replay(ContributorAttack):
    """Sends the global model back, so that its update is zero."""

    trains: ClassVar[bool] = False

    kind: Literal["replay"]

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return zeros."""
        return np.zeros_like(update)
