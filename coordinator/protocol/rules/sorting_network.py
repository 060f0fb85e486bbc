"""Sorting networks for the coordinate-wise rules, pruned to what a rule reads.

A network is data, not code: one compiled loop serves every number of rows.

Not handled: finding the smallest network. Batcher's is within a factor of two of the best known
and needs no table.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

EXCHANGE, KEEP_LOW, KEEP_HIGH = 0, 1, 2
"""What a comparator on wires ``i < j`` must write: both, only ``i``'s minimum, only ``j``'s
maximum."""

_ORDERED = 3
"""A wire whose own value matters, not only the class it belongs to."""

_DROPPED_LOW, _KEPT, _DROPPED_HIGH = 0, 1, 2


def batcher_network(n: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators ``(i, j)``, ``i < j``, of Batcher's merge exchange for ``n`` wires.

    References
    ----------
    Batcher, AFIPS 1968; for any ``n`` in the iterative form of Knuth, TAOCP vol. 3, 5.2.2,
    algorithm M.

    Examples
    --------
    >>> list(batcher_network(3))
    [(0, 2), (0, 1), (1, 2)]
    """
    if n < 2:
        return
    top = 1 << ((n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, distance = top, 0, p
        while True:
            for i in range(n - distance):
                if i & p == r:
                    yield i, i + distance
            if q == p:
                break
            distance = q - p
            q >>= 1
            r = p
        p >>= 1


@lru_cache(maxsize=32)
def trimming_network(n: int, trim: int) -> NDArray[np.int32]:
    """Return comparators that bring the ``n - 2 * trim`` middle values to the middle wires.

    The middle values come in no particular order: their sum does not need one. Going backwards, a
    comparator whose two wires end in the same class (dropped low, kept, dropped high) only permutes
    that class and is left out; one of which a single output is read is halved.

    Returns
    -------
    Shape ``(comparators, 3)``, int32, rows ``(operation, i, j)``; read-only.

    Examples
    --------
    >>> trimming_network(3, 1).tolist()
    [[0, 0, 2], [2, 0, 1], [1, 1, 2]]
    """
    wires = [_DROPPED_LOW] * trim + [_KEPT] * (n - 2 * trim) + [_DROPPED_HIGH] * trim
    kept: list[tuple[int, int, int]] = []
    for i, j in reversed(list(batcher_network(n) if trim else ())):
        if wires[i] == wires[j] != _ORDERED:
            continue
        reads_low = wires[i] in (_KEPT, _ORDERED)
        reads_high = wires[j] in (_KEPT, _ORDERED)
        if reads_low or reads_high:
            halved = KEEP_LOW if reads_low else KEEP_HIGH
            kept.append((EXCHANGE if reads_low and reads_high else halved, i, j))
            wires[i] = wires[j] = _ORDERED
    network = np.array(kept[::-1], np.int32).reshape(-1, 3)
    network.flags.writeable = False
    return network
