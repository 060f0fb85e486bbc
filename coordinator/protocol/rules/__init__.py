"""Exact integer aggregation: one file a rule, one registry.

Every rule gives the same bits for the same set of updates, in any order, on any machine, with any
number of threads (PROTOCOL §2). A rule takes the updates, the weights that were committed for them
and the fault bound, and ignores what it does not use.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.rules.coordinatewise import median, trimmed_mean
from coordinator.protocol.rules.rows import Updates
from coordinator.protocol.rules.server_step import ONE_Q16, apply_step, server_step
from coordinator.protocol.rules.weighted_mean import WeightedSum, weighted_mean
from coordinator.protocol.types import Int32Vector

__all__ = [
    "AGGREGATORS",
    "KIND_NAMES",
    "ONE_Q16",
    "Aggregator",
    "Updates",
    "WeightedSum",
    "aggregate",
    "apply_step",
    "median",
    "server_step",
    "trimmed_mean",
    "weighted_mean",
]

Aggregator = Callable[[Updates, Sequence[int], int, int | None], Int32Vector]
"""``(updates, weights, num_byzantine, threads) -> aggregate``."""

AGGREGATORS: Mapping[str, Aggregator] = MappingProxyType(
    {
        "fedavg": lambda updates, weights, _f, threads: weighted_mean(
            updates, weights, threads=threads
        ),
        "median": lambda updates, _weights, _f, threads: median(updates, threads=threads),
        "trimmed_mean": lambda updates, _weights, f, threads: trimmed_mean(
            updates, num_byzantine=f, threads=threads
        ),
    }
)
"""Rules by the name a config uses."""

KIND_NAMES: Mapping[int, str] = MappingProxyType({1: "fedavg", 2: "median", 3: "trimmed_mean"})
"""Rule kinds as committed in ``Rule.kind``."""


def aggregate(
    kind: int | str,
    updates: Updates,
    weights: Sequence[int],
    *,
    num_byzantine: int,
    threads: int | None = None,
) -> Int32Vector:
    """Apply the rule ``kind``, given by name or by its committed number.

    Parameters
    ----------
    kind
        A key of :data:`AGGREGATORS` or of :data:`KIND_NAMES`.
    updates
        ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Not modified.
    weights
        ``n`` integers that sum to ``2**24``; used by the weighted mean only.
    num_byzantine
        Fault bound *f*; used by the trimmed mean, and checked as ``2 * f < n`` for every rule.

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
    name = KIND_NAMES.get(kind, "") if isinstance(kind, int) else kind
    if name not in AGGREGATORS:
        known = ", ".join(f"{number} ({name})" for number, name in KIND_NAMES.items())
        raise AggregationError(f"aggregation rule {kind!r} is unknown, expected one of {known}")
    n = len(updates)
    if not 0 <= 2 * num_byzantine < n:
        raise AggregationError(
            f"rule {name} with n = {n} updates cannot withstand f = {num_byzantine} Byzantine "
            f"ones, expected 0 <= 2 * f < n"
        )
    return AGGREGATORS[name](updates, weights, num_byzantine, threads)
