"""Median of each coordinate: the trimmed mean with the most that can be trimmed.

References
----------
Yin et al., ICML 2018, arXiv:1803.01498. Of two middle values the mean, halves up.
"""

from coordinator.protocol.rules.base import AggregationRule, RankedColumns, honest_majority
from coordinator.protocol.rules.trimmed_mean import trimmed_mean
from coordinator.protocol.types import Int32Vector, Updates


def median(updates: Updates, *, threads: int | None = None) -> Int32Vector:
    """Return the median of each coordinate; of two middle values the mean, halves up.

    The trimmed mean with the most that can be trimmed, ``f = (n - 1) // 2``. Fewer than half of the
    rows may hold any values without moving a coordinate beyond the range of the others.

    Parameters
    ----------
    updates
        ``n >= 1`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Not modified.
    threads
        As in :func:`trimmed_mean`.

    Returns
    -------
    Shape ``(d,)``, same scale. Independent of the order of the rows, to the bit.

    Raises
    ------
    AggregationError
        If an update is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> median(np.array([[0, -1], [1, -2], [4, 0], [90, 7]], np.int32))
    array([3, 0], dtype=int32)
    """
    return trimmed_mean(updates, num_byzantine=_trim(len(updates)), threads=threads)


def _trim(n: int, _num_byzantine: int = 0) -> int:
    """Return how many values are cut at each end: all but one or two are."""
    return (n - 1) // 2


MEDIAN = AggregationRule(
    number=2,
    name="median",
    aggregate=lambda given: median(given.updates, threads=given.threads),
    fewest=honest_majority,
    bound="2f < n",
    provability=RankedColumns(_trim),
)
