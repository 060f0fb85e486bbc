"""A malformed reply: floats where integers were signed."""

from dataclasses import replace
from typing import Literal

import numpy as np

from simulations.attacks.contributor.base import AttackContext, ContributorAttack, Reply


class Nan(ContributorAttack):
    """Sends floats, the first of them NaN, in place of the integers it signed."""

    kind: Literal["nan"]

    def change_reply(self, reply: Reply, context: AttackContext) -> Reply:
        """Return a float32 vector whose first value is NaN."""
        floats = reply.vector.astype(np.float32)
        floats[0] = np.nan
        return replace(reply, vector=floats)
