"""An attack that moves the model in the opposite direction."""

from typing import Literal

import numpy as np
from pydantic import Field

from coordinator.protocol.types import Int32Vector
from simulations.attacks.contributor.base import ContributorAttack, UpdateContext, to_int32


class SignFlip(ContributorAttack):
    """Sends the honest update times ``-scale``."""

    kind: Literal["sign_flip"]
    scale: float = Field(default=1.0, gt=0.0, le=1e6)

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return ``-scale * update``, rounded, within int32."""
        return to_int32(-self.scale * update.astype(np.float64))
