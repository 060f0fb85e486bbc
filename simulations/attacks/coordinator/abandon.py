"""What a convicted run is compared with: a round that is given up honestly."""

from typing import Literal

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import CoordinatorAttack, CoordinatorContext


class Abandon(CoordinatorAttack):
    """No attack: gives the round up before sealing."""

    kind: Literal["abandon"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Give the round up.

        Raises
        ------
        AggregationError
            Always.
        """
        raise AggregationError("abandoned")
