"""Exact integer aggregation: one file a rule, one registry.

Every rule gives the same bits for the same set of updates, in any order, on any machine, with any
number of threads (PROTOCOL §2, ADR 0040). Schema, fault bound, documents and proofs follow from
each rule's :class:`AggregationRule`; CONTRIBUTING.md says how to add one.
"""

from collections.abc import Sequence

from coordinator.protocol.errors import AggregationError, ConfigError
from coordinator.protocol.rules.base import AggregationInput, AggregationRule
from coordinator.protocol.rules.chosen import (
    RULES,
    ChosenRule,
    choose,
    chosen,
    is_provable,
    rules_by_number,
)
from coordinator.protocol.rules.median import median
from coordinator.protocol.rules.server_step import ONE_Q16, apply_step, server_step
from coordinator.protocol.rules.trimmed_mean import trimmed_mean
from coordinator.protocol.rules.weighted_mean import WeightedSum, weighted_mean
from coordinator.protocol.types import Int32Vector, Updates

__all__ = [
    "ONE_Q16",
    "RULES",
    "AggregationInput",
    "AggregationRule",
    "ChosenRule",
    "Updates",
    "WeightedSum",
    "aggregate",
    "apply_step",
    "choose",
    "chosen",
    "is_provable",
    "median",
    "rules_by_number",
    "server_step",
    "trimmed_mean",
    "weighted_mean",
]


def aggregate(
    kind: int | str,
    updates: Updates,
    weights: Sequence[int],
    *,
    num_byzantine: int,
    threads: int | None = None,
) -> Int32Vector:
    """Apply the rule ``kind`` with its default options, given by name or by its number.

    Parameters
    ----------
    kind
        The name of a rule, or the number of one of the package.
    updates
        ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Not modified.
    weights
        ``n`` integers that sum to ``2**24``; used by the weighted mean only.
    num_byzantine
        Fault bound *f*; the rule's own bound on ``n`` is checked.

    Returns
    -------
    Shape ``(d,)`` int32.

    Raises
    ------
    AggregationError
        If the rule is unknown or cannot be applied.

    Examples
    --------
    >>> import numpy as np
    >>> updates = np.array([[0], [1], [4], [5], [90]], np.int32)
    >>> weights = [1 << 23, 1 << 21, 1 << 21, 1 << 21, 1 << 21]
    >>> for kind in ("fedavg", "median", "trimmed_mean"):
    ...     print(kind, aggregate(kind, updates, weights, num_byzantine=1))
    fedavg [13]
    median [4]
    trimmed_mean [3]
    """
    numbers = rules_by_number()
    name = numbers[kind].name if isinstance(kind, int) and kind in numbers else str(kind)
    try:
        rule = choose(name, {})
    except ConfigError as error:
        known = ", ".join(f"{number} ({rule.name})" for number, rule in numbers.items())
        raise AggregationError(
            f"aggregation rule {kind!r} is unknown, expected one of {known}"
        ) from error
    return rule.aggregate(updates, weights, num_byzantine=num_byzantine, threads=threads)
