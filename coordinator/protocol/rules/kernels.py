"""Compiled loops of the aggregation rules: integers in, integers out, one signature each.

Every kernel takes plain 64-bit integers, vectors by address, and works on the columns
``[start, stop)``. So rows may lie in separate memory maps or shared-memory segments, read-only or
not, without a copy and without another compilation for each kind of array; and the caller may
split the columns among threads as it likes, because no column depends on another.

What is not here: any check. A wrong address or length corrupts memory; only the callers in this
package, which have checked dtype, order, alignment and length, may call these functions.
"""

from typing import Any

import numpy as np
from numba import extending, types
from numba.np import numpy_support

from coordinator.protocol.compiled import compiled

# Numba's own annotations describe neither intrinsics nor what compiled code may do with a pointer.
_intrinsic: Any = extending.intrinsic
carray: Any = numpy_support.carray
_pointer_to: Any = types.CPointer

MEAN_BLOCK = 4096
"""Columns whose 64-bit sums are kept together: 32 KiB."""

SORT_BLOCK_BYTES = 512 * 1024
"""Values that are sorted together: half of a common second-level cache."""


MOST_ROWS = 1 << 20
"""Rows from which a sum of int32 values might not be exact in float64."""


def _pointer_intrinsic(value_type: Any) -> Any:
    signature = _pointer_to(value_type)(types.int64)

    def pointer_at(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return (signature, generate) if address == types.int64 else None

    return _intrinsic(pointer_at)


_int32_pointer = _pointer_intrinsic(types.int32)
_int64_pointer = _pointer_intrinsic(types.int64)


@compiled
def _clear(sums: Any, size: int) -> None:
    for k in range(size):
        sums[k] = 0


@compiled
def _copy(source: Any, target: Any, size: int) -> None:
    for k in range(size):
        target[k] = source[k]


@compiled
def _add_row(sums: Any, row: Any, weight: np.int32, size: int) -> None:
    for k in range(size):
        sums[k] += np.int64(weight) * np.int64(row[k])


@compiled
def _add_four_rows(
    sums: Any,
    row0: Any,
    row1: Any,
    row2: Any,
    row3: Any,
    weight0: np.int32,
    weight1: np.int32,
    weight2: np.int32,
    weight3: np.int32,
    size: int,
) -> None:
    # Four rows for each pass over the sums: the sums' own traffic then no longer counts.
    for k in range(size):
        sums[k] += (
            np.int64(weight0) * np.int64(row0[k])
            + np.int64(weight1) * np.int64(row1[k])
            + np.int64(weight2) * np.int64(row2[k])
            + np.int64(weight3) * np.int64(row3[k])
        )


@compiled
def add_weighted_span(sums: int, row: int, weight: int, start: int, stop: int) -> None:
    """Add ``weight`` times the int32 vector at ``row`` to the int64 vector at ``sums``."""
    size = stop - start
    _add_row(
        carray(_int64_pointer(sums + 8 * start), (size,)),
        carray(_int32_pointer(row + 4 * start), (size,)),
        np.int32(weight),
        size,
    )


@compiled
def weighted_mean_span(
    rows: int, weights: int, n: int, out: int, start: int, stop: int, block: int
) -> None:
    """Write ``(sum_i w_i * u_i + 2**23) >> 24`` for the columns ``[start, stop)``.

    ``rows`` and ``weights`` are addresses of ``n`` int64: the rows' addresses and the weights.
    """
    row_table = carray(_int64_pointer(rows), (n,))
    weight_table = carray(_int64_pointer(weights), (n,))
    sums = np.empty(block, np.int64)
    for first in range(start, stop, block):
        size = min(block, stop - first)
        _clear(sums, size)
        i = 0
        while i + 4 <= n:
            _add_four_rows(
                sums,
                carray(_int32_pointer(row_table[i] + 4 * first), (size,)),
                carray(_int32_pointer(row_table[i + 1] + 4 * first), (size,)),
                carray(_int32_pointer(row_table[i + 2] + 4 * first), (size,)),
                carray(_int32_pointer(row_table[i + 3] + 4 * first), (size,)),
                np.int32(weight_table[i]),
                np.int32(weight_table[i + 1]),
                np.int32(weight_table[i + 2]),
                np.int32(weight_table[i + 3]),
                size,
            )
            i += 4
        while i < n:
            row = carray(_int32_pointer(row_table[i] + 4 * first), (size,))
            _add_row(sums, row, np.int32(weight_table[i]), size)
            i += 1
        result = carray(_int32_pointer(out + 4 * first), (size,))
        for k in range(size):
            result[k] = np.int32((sums[k] + (1 << 23)) >> 24)


@compiled
def _exchange(low: Any, high: Any, size: int) -> None:
    for k in range(size):
        a = low[k]
        b = high[k]
        low[k] = min(a, b)
        high[k] = max(a, b)


@compiled
def _keep_low(low: Any, high: Any, size: int) -> None:
    for k in range(size):
        low[k] = min(low[k], high[k])


@compiled
def _keep_high(low: Any, high: Any, size: int) -> None:
    for k in range(size):
        high[k] = max(low[k], high[k])


@compiled
def _add_rows(sums: Any, row0: Any, row1: Any, row2: Any, row3: Any, size: int) -> None:
    for k in range(size):
        sums[k] += np.int64(row0[k]) + np.int64(row1[k]) + np.int64(row2[k]) + np.int64(row3[k])


@compiled
def _divide(sums: Any, count: Any, out: Any, size: int) -> None:
    # Division of 64-bit integers has no vector instruction, that of floats has. The numerator is
    # exact in float64 while count < MOST_ROWS; a correctly rounded quotient is never below the true
    # one's floor, and where it is above, the remainder is negative.
    divisor = np.float64(2 * count)
    for k in range(size):
        numerator = np.float64(2 * sums[k] + count)
        quotient = np.floor(numerator / divisor)
        remainder = numerator - quotient * divisor
        out[k] = np.int32(quotient - (1.0 if remainder < 0.0 else 0.0))


@compiled
def _mean_of_rows(buffer: Any, first: int, last: int, out: Any, sums: Any, size: int) -> None:
    count = np.int64(last - first)
    _clear(sums, size)
    i = first
    while i + 4 <= last:
        _add_rows(sums, buffer[i], buffer[i + 1], buffer[i + 2], buffer[i + 3], size)
        i += 4
    while i < last:
        _add_row(sums, buffer[i], np.int32(1), size)
        i += 1
    _divide(sums, count, out, size)


@compiled
def trimmed_mean_span(
    rows: int,
    n: int,
    trim: int,
    network: int,
    comparators: int,
    out: int,
    start: int,
    stop: int,
    block: int,
) -> None:
    """Write the mean of each column without its ``trim`` lowest and highest values.

    ``network`` is the address of ``comparators`` int32 triples ``(operation, i, j)``
    (see :mod:`~coordinator.protocol.rules.sorting_network`).
    """
    row_table = carray(_int64_pointer(rows), (n,))
    steps = carray(_int32_pointer(network), (comparators, 3))
    buffer = np.empty((n, block), np.int32)
    sums = np.empty(block, np.int64)
    for first in range(start, stop, block):
        size = min(block, stop - first)
        for i in range(n):
            row = carray(_int32_pointer(row_table[i] + 4 * first), (size,))
            _copy(row, buffer[i], size)
        for step in range(comparators):
            low = buffer[steps[step, 1]]
            high = buffer[steps[step, 2]]
            if steps[step, 0] == 0:
                _exchange(low, high, size)
            elif steps[step, 0] == 1:
                _keep_low(low, high, size)
            else:
                _keep_high(low, high, size)
        result = carray(_int32_pointer(out + 4 * first), (size,))
        _mean_of_rows(buffer, trim, n - trim, result, sums, size)


@compiled
def _scale(source: Any, factor_q16: int, out: Any, size: int) -> bool:
    overflow = False
    for k in range(size):
        value = (factor_q16 * np.int64(source[k]) + (1 << 15)) >> 16
        out[k] = np.int32(value)
        overflow |= value != np.int64(out[k])
    return overflow


@compiled
def _add(left: Any, right: Any, out: Any, size: int) -> bool:
    overflow = False
    for k in range(size):
        value = np.int64(left[k]) + np.int64(right[k])
        out[k] = np.int32(value)
        overflow |= value != np.int64(out[k])
    return overflow


@compiled
def scale_span(source: int, factor_q16: int, out: int, start: int, stop: int) -> bool:
    """Write ``(factor * source + 2**15) >> 16``; return whether a value left the int32 range.

    No 64-bit overflow: a 32-bit factor times an int32 stays below ``2**63 - 2**31``.
    """
    size = stop - start
    return _scale(
        carray(_int32_pointer(source + 4 * start), (size,)),
        factor_q16,
        carray(_int32_pointer(out + 4 * start), (size,)),
        size,
    )


@compiled
def add_span(left: int, right: int, out: int, start: int, stop: int) -> bool:
    """Write ``left + right``; return whether a value left the int32 range."""
    size = stop - start
    return _add(
        carray(_int32_pointer(left + 4 * start), (size,)),
        carray(_int32_pointer(right + 4 * start), (size,)),
        carray(_int32_pointer(out + 4 * start), (size,)),
        size,
    )
