"""Exact inner products of int32 vectors, as Python integers, at BLAS speed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.types import Int32Vector

_COLUMNS = 1 << 16
"""Columns multiplied at a time: halves of 16 bits give exact sums far beyond this."""


def inner_products(left: Sequence[Int32Vector], right: Sequence[Int32Vector]) -> list[list[int]]:
    """Return every inner product of a vector of ``left`` with one of ``right``.

    Each value is cut into a signed high and an unsigned low half; a block of products of halves
    stays below ``2**48``, which float64 adds exactly in any order.

    Examples
    --------
    >>> a = np.array([1, 2, -(1 << 31)], np.int32)
    >>> inner_products([a], [a]) == [[5 + (1 << 62)]]
    True
    """
    totals = [[0] * len(right) for _ in left]
    if not left or not right:
        return totals
    for first in range(0, left[0].shape[0], _COLUMNS):
        left_high, left_low = _halves([row[first : first + _COLUMNS] for row in left])
        right_high, right_low = _halves([row[first : first + _COLUMNS] for row in right])
        high = (left_high @ right_high.T).astype(np.int64).tolist()
        middle = (left_high @ right_low.T + left_low @ right_high.T).astype(np.int64).tolist()
        low = (left_low @ right_low.T).astype(np.int64).tolist()
        for i, row in enumerate(totals):
            for j in range(len(right)):
                row[j] += (high[i][j] << 32) + (middle[i][j] << 16) + low[i][j]
    return totals


def _halves(rows: list[Int32Vector]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    block = np.stack(rows)
    return (block >> 16).astype(np.float64), (block & 0xFFFF).astype(np.float64)
