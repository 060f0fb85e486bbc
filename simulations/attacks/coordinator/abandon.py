"""A round that is voided honestly, for comparison with a convicted one."""

from typing import Literal

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import RoundInput
from simulations.attacks.coordinator.base import CoordinatorAttack, CoordinatorContext


class Abandon(CoordinatorAttack):
    """Not an attack: voids the round before sealing."""

    kind: Literal["abandon"]

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Void the round.

        Raises
        ------
        AggregationError
            Always.
        """
        raise AggregationError("abandoned")
