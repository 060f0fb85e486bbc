"""A free rider that sends noise of a plausible length."""

from typing import Literal

import numpy as np
from pydantic import Field

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import ContributorAttack, UpdateContext, to_int32


class Noise(ContributorAttack):
    """Sends Gaussian noise, ``scale`` times as long (L2) as an honest update."""

    kind: Literal["noise"]
    scale: float = Field(default=1.0, gt=0.0, le=1e6)

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return noise of the L2 norm of ``scale * update``, rounded to integers."""
        noise = context.generator.standard_normal(update.shape)
        length = self.scale * float(np.linalg.norm(update.astype(np.float64)))
        return to_int32(noise * (length / float(np.linalg.norm(noise))))
