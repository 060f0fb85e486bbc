"""The aggregation rules there are: those of this package's files, and named ones from outside."""

from functools import cache

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry
from coordinator.protocol.rules.base import AggregationRule

RULES: Registry[AggregationRule] = Registry.of_objects(
    "coordinator.protocol.rules",
    AggregationRule,
    what="aggregation rule",
    name_of=lambda rule: rule.name,
)


@cache
def rules_by_number() -> dict[int, AggregationRule]:
    """Return the package's rules by their committed number.

    Raises
    ------
    ConfigError
        If two have the same number.
    """
    by_number: dict[int, AggregationRule] = {}
    for rule in RULES.shipped.values():
        other = by_number.setdefault(rule.number, rule)
        if other is not rule:
            raise ConfigError(
                f"aggregation rules {other.name} and {rule.name} both have number {rule.number}, "
                "expected each once"
            )
    return dict(sorted(by_number.items()))


def numbered_names() -> str:
    """Return the package's rules for a message: ``1 fedavg, 2 median``."""
    return ", ".join(f"{number} {rule.name}" for number, rule in rules_by_number().items())
