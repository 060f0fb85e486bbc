"""What a federation agreed before its first round."""

from dataclasses import dataclass

from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Rule, UpdateLimits


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """The rule, the model's shape, and the patience.

    In a ``sealed`` federation every round takes commitments first, updates then.
    """

    manifest: Manifest
    rule: Rule
    round_duration_s: int
    limits: UpdateLimits
    sealed: bool = False
