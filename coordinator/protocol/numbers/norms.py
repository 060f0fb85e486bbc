"""The exact L2 norm of integer vectors."""

from typing import Any

import numpy as np

from coordinator.protocol.compiled import compiled
from coordinator.protocol.types import Int32Vector


@compiled
def _square_parts(vector: Any) -> tuple[np.uint64, np.uint64]:
    high = np.uint64(0)
    low = np.uint64(0)
    for i in range(vector.size):
        square = np.uint64(np.int64(vector[i]) * np.int64(vector[i]))
        high += square >> np.uint64(32)
        low += square & np.uint64(0xFFFFFFFF)
    return high, low


def squared_norm(vector: Int32Vector) -> int:
    """Return the exact sum of squares of a vector of shape ``(d,)``, ``d < 2**32``.

    The two halves of each square are summed separately, so that no sum overflows 64 bits.

    Examples
    --------
    >>> squared_norm(np.full(4, -(2**31), np.int32)) == 2**64
    True
    """
    high, low = _square_parts(vector)
    return (int(high) << 32) + int(low)
