"""The agreement of a federation before its first round."""

from dataclasses import dataclass

from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Rule, UpdateLimits


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """Rule, model layout, duration of a round in seconds, and limits on updates.

    In a ``sealed`` federation every round takes commitments first, then updates.
    """

    manifest: Manifest
    rule: Rule
    round_duration_s: int
    limits: UpdateLimits
    sealed: bool = False
