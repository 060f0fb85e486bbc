"""SHA-256 of many messages of equal length at once, sixteen in parallel in vector registers.

Every message is one prefix byte followed by a row of 32-bit values in big-endian order, as both the
leaves and the nodes of the parameter tree are. No byte string is built: a message word is made from
two neighbouring *values* by shifts, independent of the machine's byte order. It is fast because it
takes one call per tree level instead of one per node (ADR 32).

Not handled: any check of addresses and lengths; only ``parameter_tree``, which has checked them,
calls this module.

References
----------
NIST FIPS 180-4.
"""

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.commitments.sha256_vectors import (
    LANES,
    add_states,
    broadcast_state,
    expand_words,
    gather_words,
    put_value,
    sixteen_rounds,
    value_at,
)
from coordinator.protocol.compiled import compiled, inlined


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def _root_bits(number: int, power: int) -> int:
    """Return the first 32 bits of the fractional part of ``number ** (1 / power)``."""
    target = number << (32 * power)
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= target else (low, middle)
    return low & 0xFFFFFFFF


_CONSTANTS = np.array(
    [_root_bits(prime, 3) for prime in _primes(64)]
    + [_root_bits(prime, 2) for prime in _primes(8)]
    + [0] * 8,
    np.uint32,
)
"""64 round constants, the 8 words of the initial state, and 8 zeros."""


_ROW_BYTES = 4 * LANES
_STATE, _VARIABLES, _WORDS, _CARRY, _PADDED = (_ROW_BYTES * row for row in (0, 8, 16, 32, 33))
"""Offsets in a thread's scratch memory: of 8, 8, 16 and 1 rows, then of padded messages."""


@inlined
def _compress(scratch: int, constants: int) -> None:
    """Hash the block in the words into the state; overwrites words and variables."""
    broadcast_state(scratch + _VARIABLES, constants + 4 * 72)
    add_states(scratch + _VARIABLES, scratch + _VARIABLES, scratch + _STATE)
    for quarter in range(4):
        if quarter > 0:
            expand_words(scratch + _WORDS)
        sixteen_rounds(scratch + _VARIABLES, scratch + _WORDS, constants + 64 * quarter)
    add_states(scratch + _STATE, scratch + _STATE, scratch + _VARIABLES)


@inlined
def _edge_words(words: int, rows: int, row_words: int, prefix: int, block: int) -> None:
    """Write the words of a block in which values end: the end bit, zeros, the length."""
    for lane in range(LANES):
        row = rows + 4 * lane * row_words
        for k in range(16):
            index = 16 * block + k
            before = np.uint32(0)
            if index == 0:
                before = np.uint32(prefix)
            elif index <= row_words:
                before = value_at(row + 4 * (index - 1))
            current = np.uint32(0x80000000 if index == row_words else 0)
            if index < row_words:
                current = value_at(row + 4 * index)
            word = np.uint32((before << np.uint32(24)) | (current >> np.uint32(8)))
            put_value(words + _ROW_BYTES * k + 4 * lane, word)


@inlined
def _hash_group(scratch: int, constants: int, rows: int, row_words: int, prefix: int) -> None:
    """Hash 16 rows into the state."""
    broadcast_state(scratch + _STATE, constants + 4 * 64)
    for lane in range(LANES):
        put_value(scratch + _CARRY + 4 * lane, np.uint32(prefix))
    blocks = (4 * row_words + 9 + 63) // 64
    for block in range(blocks):
        if 16 * (block + 1) <= row_words:
            at = rows + 64 * block
            gather_words(scratch + _WORDS, scratch + _CARRY, at, 4 * row_words)
        else:
            _edge_words(scratch + _WORDS, rows, row_words, prefix, block)
            if block == blocks - 1:
                for lane in range(LANES):
                    length = scratch + _WORDS + 15 * _ROW_BYTES + 4 * lane
                    put_value(length, np.uint32(8 + 32 * row_words))
        _compress(scratch, constants)


# One kernel with inlined parts: with nested kernels LLVM repeated the work at every level, and
# compiling took 18 s (ADR 32).
@compiled
def _hash_rows(
    scratch: int,
    constants: int,
    values: int,
    total_words: int,
    row_words: int,
    prefix: int,
    first: int,
    last: int,
    out: int,
) -> None:
    for row in range(first, last, LANES):
        start = row * row_words
        rows = values + 4 * start
        if start + LANES * row_words > total_words:
            rows = scratch + _PADDED
            for k in range(LANES * row_words):
                inside = start + k < total_words
                value = value_at(values + 4 * (start + k)) if inside else np.uint32(0)
                put_value(rows + 4 * k, value)
        _hash_group(scratch, constants, rows, row_words, prefix)
        for lane in range(min(LANES, last - row)):
            for i in range(8):
                word = value_at(scratch + _STATE + _ROW_BYTES * i + 4 * lane)
                put_value(out + 32 * (row + lane) + 4 * i, word)


def hash_rows(
    values: NDArray[np.int32] | NDArray[np.uint32],
    row_words: int,
    prefix: int,
    first: int,
    last: int,
    out: NDArray[np.uint32],
) -> None:
    """Hash rows ``first`` to ``last - 1`` of a flat vector cut into rows of ``row_words`` values.

    Parameters
    ----------
    values
        C-contiguous, 32-bit, not modified. A row that reaches past the end is padded with zeros.
    row_words
        Values per row, 1 to 2^20.
    prefix
        The byte before every row: 0 for leaves, 1 for nodes.
    out
        Shape ``(rows, 8)``; row ``i`` receives the digest's eight words.

    Examples
    --------
    >>> import hashlib
    >>> out = np.empty((1, 8), np.uint32)
    >>> hash_rows(np.array([1, -2], np.int32), 2, 0, 0, 1, out)
    >>> message = bytes([0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE])
    >>> out.astype(">u4").tobytes() == hashlib.sha256(message).digest()
    True
    """
    rows_that_fit = values.size // row_words - first
    padded = 0 if rows_that_fit >= -(-(last - first) // LANES) * LANES else LANES * row_words
    scratch = np.empty(_PADDED // 4 + padded, np.uint32)
    _hash_rows(
        scratch.ctypes.data,
        _CONSTANTS.ctypes.data,
        values.ctypes.data,
        values.size,
        row_words,
        prefix,
        first,
        last,
        out.ctypes.data,
    )
