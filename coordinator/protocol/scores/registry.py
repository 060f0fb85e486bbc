"""The scoring rules there are: those of this package's files, and named ones from outside."""

from coordinator.protocol.registry import Registry
from coordinator.protocol.scores.base import ScoringRule

SCORES: Registry[ScoringRule] = Registry.of_objects(
    "coordinator.protocol.scores",
    ScoringRule,
    what="score",
    name_of=lambda rule: rule.name,
)
