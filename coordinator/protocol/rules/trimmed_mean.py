"""Trimmed mean of each coordinate, by one pruned sorting network (ADR 0042).

Sums of what is kept are integers, so the result does not depend on the order of the rows; a sum of
floats would.

References
----------
Yin et al., ICML 2018, arXiv:1803.01498. Here *f* is a count; the paper trims a fraction. Means are
rounded to the nearest integer, halves up.
"""

import operator

import numpy as np

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.options import Option
from coordinator.protocol.parallel import over_spans
from coordinator.protocol.rules import kernels
from coordinator.protocol.rules.base import (
    NUM_BYZANTINE,
    AggregationRule,
    RankedColumns,
    honest_majority,
)
from coordinator.protocol.rules.rows import address_of, address_table, check_updates
from coordinator.protocol.rules.sorting_network import trimming_network
from coordinator.protocol.types import Int32Vector, Updates

_SMALLEST_BLOCK, _LARGEST_BLOCK = 32, 8192


def trimmed_mean(
    updates: Updates, *, num_byzantine: int, threads: int | None = None
) -> Int32Vector:
    """Average each coordinate after discarding its ``num_byzantine`` lowest and highest values.

    Up to ``num_byzantine`` rows may hold any values without moving a coordinate beyond the range
    of the other rows.

    Parameters
    ----------
    updates
        ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Read in place, not modified.
    num_byzantine
        Rows assumed hostile, *f*; requires ``0 <= 2 * f < n``.
    threads
        At most this many; all cores of this process when ``None``. Does not affect the result.

    Returns
    -------
    Shape ``(d,)``, same scale: ``floor((2 * S + m) / (2 * m))`` for the sum *S* of the *m* values
    kept. Independent of the order of the rows, to the bit.

    Raises
    ------
    AggregationError
        If an update is not as described, or the bound above is violated.

    Examples
    --------
    >>> trimmed_mean(np.array([[0], [1], [4], [90]], np.int32), num_byzantine=1)
    array([3], dtype=int32)
    """
    rows = check_updates(updates)
    trim = operator.index(num_byzantine)
    n = len(rows)
    if not 0 <= 2 * trim < n:
        raise AggregationError(
            f"trimmed mean of n = {n} updates cannot withstand f = {trim} Byzantine ones, "
            f"expected 0 <= 2 * f < n"
        )
    if n >= kernels.MOST_ROWS:
        raise AggregationError(f"{n} updates in one round, expected < {kernels.MOST_ROWS}")
    network = trimming_network(n, trim)
    addresses = address_table(rows)
    out = np.empty(rows[0].shape[0], np.int32)
    columns = kernels.SORT_BLOCK_BYTES // (4 * n) // 32 * 32
    block = min(_LARGEST_BLOCK, max(_SMALLEST_BLOCK, columns))

    def span(start: int, stop: int) -> None:
        kernels.trimmed_mean_span(
            address_of(addresses),
            n,
            trim,
            address_of(network),
            network.shape[0],
            address_of(out),
            start,
            stop,
            min(block, stop - start),
        )

    over_spans(span, out.shape[0], cost=n, threads=threads)
    return out


TRIMMED_MEAN = AggregationRule(
    number=3,
    name="trimmed_mean",
    aggregate=lambda given: trimmed_mean(
        given.updates, num_byzantine=given.num_byzantine, threads=given.threads
    ),
    fewest=honest_majority,
    bound="2f < n",
    options=(Option(NUM_BYZANTINE, 1, least=0),),
    provability=RankedColumns(lambda _n, num_byzantine: num_byzantine),
)
