"""Weighted mean of updates: FedAvg, and every rule that ends in weights.

Where the weights come from is not handled here (``coordinator.protocol.numbers.weights``).

References
----------
McMahan et al., AISTATS 2017, arXiv:1602.05629. Here in fixed point: weights are integers that sum
to ``2**24``, so the division is a shift and no partial sum can overflow.
"""

import operator
from collections.abc import Sequence

import numpy as np

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.parallel import over_spans
from coordinator.protocol.rules import kernels
from coordinator.protocol.rules.rows import (
    address_of,
    address_table,
    check_updates,
    check_vector,
)
from coordinator.protocol.types import WEIGHT_TOTAL, Int32Vector, Updates

_SHIFT = WEIGHT_TOTAL.bit_length() - 1


def weighted_mean(
    updates: Updates, weights: Sequence[int], *, threads: int | None = None
) -> Int32Vector:
    """Average updates with integer weights: ``(sum_i w_i * u_i + 2**23) >> 24``.

    The sum is at most ``2**24 * 2**31`` in size, so int64 holds it in any order; the result lies
    between the smallest and the largest value of its column, so int32 holds it.

    Parameters
    ----------
    updates
        ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Read in place, not modified.
    weights
        ``n`` non-negative integers that sum to exactly ``2**24``.
    threads
        At most this many; all cores of this process when ``None``. Does not affect the result.

    Returns
    -------
    Shape ``(d,)``, same scale. Independent of the order of the rows, to the bit; halves round up.

    Raises
    ------
    AggregationError
        If an update is not as described, or the weights are not.

    Examples
    --------
    >>> updates = np.array([[0, -3], [4, -6]], np.int32)
    >>> weighted_mean(updates, [3 << 22, 1 << 22])
    array([ 1, -4], dtype=int32)
    """
    rows = check_updates(updates)
    table = np.array(_check_weights(weights, len(rows)), np.int64)
    addresses = address_table(rows)
    out = np.empty(rows[0].shape[0], np.int32)

    def span(start: int, stop: int) -> None:
        kernels.weighted_mean_span(
            address_of(addresses),
            address_of(table),
            len(rows),
            address_of(out),
            start,
            stop,
            min(kernels.MEAN_BLOCK, stop - start),
        )

    over_spans(span, out.shape[0], cost=len(rows), threads=threads)
    return out


def _check_weights(weights: Sequence[int], n: int) -> list[int]:
    if len(weights) != n:
        raise AggregationError(f"{len(weights)} weights for {n} updates, expected one each")
    for i, weight in enumerate(weights):
        _check_weight(weight, f"weight {i}")
    total = sum(operator.index(weight) for weight in weights)
    if total != WEIGHT_TOTAL:
        raise AggregationError(f"weights sum to {total}, expected {WEIGHT_TOTAL}")
    return [operator.index(weight) for weight in weights]


def _check_weight(weight: int, name: str) -> int:
    try:
        value = operator.index(weight)
    except TypeError:
        raise AggregationError(
            f"{name} is {weight!r}, a {type(weight).__name__}, expected an integer"
        ) from None
    if not 0 <= value <= WEIGHT_TOTAL:
        raise AggregationError(f"{name} is {value}, expected 0 to {WEIGHT_TOTAL}")
    return value


class WeightedSum:
    """Running weighted sum: the weighted mean of updates that arrive one at a time.

    Holds one int64 vector whatever the number of updates, and gives the same bits as
    :func:`weighted_mean` in any order of arrival.

    Parameters
    ----------
    dimension
        Length *d* of every update.

    Examples
    --------
    >>> running = WeightedSum(2)
    >>> running.add(np.array([0, -3], np.int32), 3 << 22)
    >>> running.add(np.array([4, -6], np.int32), 1 << 22)
    >>> running.result()
    array([ 1, -4], dtype=int32)
    """

    def __init__(self, dimension: int, *, threads: int | None = None) -> None:
        if dimension < 1:
            raise AggregationError(f"dimension is {dimension}, expected at least 1")
        self._sums = np.zeros(dimension, np.int64)
        self._weight = 0
        self._threads = threads

    @property
    def weight(self) -> int:
        """Sum of the weights so far; :meth:`result` wants ``2**24``."""
        return self._weight

    def add(self, update: Int32Vector, weight: int) -> None:
        """Add one update, shape ``(d,)`` int32, not modified.

        Raises
        ------
        AggregationError
            If the update or the weight is not as described, or the weights now exceed ``2**24``;
            the sum is then unchanged.
        """
        row = check_vector(update, "update", self._sums.shape[0])
        value = _check_weight(weight, "weight")
        if self._weight + value > WEIGHT_TOTAL:
            raise AggregationError(
                f"weights sum to {self._weight + value}, expected at most {WEIGHT_TOTAL}"
            )
        sums, source = address_of(self._sums), address_of(row)
        over_spans(
            lambda start, stop: kernels.add_weighted_span(sums, source, value, start, stop),
            row.shape[0],
            threads=self._threads,
        )
        self._weight += value

    def result(self) -> Int32Vector:
        """Return the weighted mean, shape ``(d,)`` int32.

        Raises
        ------
        AggregationError
            If the weights added do not sum to ``2**24``.
        """
        if self._weight != WEIGHT_TOTAL:
            raise AggregationError(f"weights sum to {self._weight}, expected {WEIGHT_TOTAL}")
        return ((self._sums + (1 << (_SHIFT - 1))) >> _SHIFT).astype(np.int32)
