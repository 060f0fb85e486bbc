"""SHA-256 of many equally long messages at once, sixteen side by side in vector registers.

Every message is one prefix byte followed by a row of 32-bit values in big-endian order. That is
the shape of both the leaves and the nodes of the parameter tree, and it needs no bytes at all: a
message word is made from two neighbouring *values* by shifts, so the machine's byte order never
shows. One call per tree level instead of one per node is what makes it fast (docs/adr/0031).

Not handled here: any check of addresses and lengths; only ``parameter_tree``, which has checked
them, calls this module.

References
----------
NIST FIPS 180-4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.core.compiled import compiled
from coordinator.core.sha256_vectors import (
    LANES,
    expand_words,
    gather_words,
    sixteen_rounds,
    value_at,
)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_bits(number: int, power: int) -> int:
    """Return the first 32 bits of the fraction of ``number ** (1 / power)``."""
    target = number << (32 * power)
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= target else (low, middle)
    return low & 0xFFFFFFFF


_ROUND_CONSTANTS = np.array([_root_bits(prime, 3) for prime in _primes(64)], np.uint32)
_INITIAL = np.array([_root_bits(prime, 2) for prime in _primes(8)], np.uint32)


@compiled
def _compress(state: Any, words: Any) -> None:
    """Hash one block: message words ``(16, LANES)``, overwritten, into ``state[:8]``."""
    state[8:] = state[:8]
    variables = state.ctypes.data + 32 * LANES
    sixteen_rounds(variables, words.ctypes.data, _ROUND_CONSTANTS.ctypes.data)
    for done in range(16, 64, 16):
        expand_words(words.ctypes.data)
        constants = _ROUND_CONSTANTS.ctypes.data + 4 * done
        sixteen_rounds(variables, words.ctypes.data, constants)
    state[:8] += state[8:]


@compiled
def _finish(state: Any, carry: Any, rows: int, row_words: int) -> None:
    """Hash the values after the last whole block, the padding and the length."""
    words = np.zeros((16, LANES), np.uint32)
    done = row_words // 16 * 16
    rest = row_words - done
    for lane in range(LANES):
        before = carry[lane]
        for k in range(rest):
            value = value_at(rows + 4 * (lane * row_words + done + k))
            words[k, lane] = (before << 24) | (value >> 8)
            before = value
        words[rest, lane] = (before << 24) | 0x800000
    if rest > 13:
        _compress(state, words)
        words[:] = 0
    words[15, :] = 8 + 32 * row_words
    _compress(state, words)


@compiled
def _hash_group(rows: int, row_words: int, prefix: int, state: Any) -> None:
    for i in range(8):
        state[i, :] = _INITIAL[i]
    carry = np.full(LANES, prefix, np.uint32)
    words = np.empty((16, LANES), np.uint32)
    for block in range(row_words // 16):
        gather_words(words.ctypes.data, carry.ctypes.data, rows + 64 * block, 4 * row_words)
        _compress(state, words)
    _finish(state, carry, rows, row_words)


@compiled
def _hash_rows(
    address: int, total_words: int, row_words: int, prefix: int, first: int, last: int, out: Any
) -> None:
    state = np.empty((16, LANES), np.uint32)
    for row in range(first, last, LANES):
        count = min(LANES, last - row)
        start = row * row_words
        if start + LANES * row_words <= total_words:
            _hash_group(address + 4 * start, row_words, prefix, state)
        else:
            padded = np.zeros(LANES * row_words, np.uint32)
            for k in range(min(total_words - start, count * row_words)):
                padded[k] = value_at(address + 4 * (start + k))
            _hash_group(padded.ctypes.data, row_words, prefix, state)
        for lane in range(count):
            for i in range(8):
                out[row + lane, i] = state[i, lane]


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
    _hash_rows(values.ctypes.data, values.size, row_words, prefix, first, last, out)
