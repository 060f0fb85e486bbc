"""Compiles the protocol's loops: on first use, without the interpreter lock, cached on disk."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Numba's own annotations do not describe a decorator.
_njit: Any = numba.njit


def compiled(function: _Function) -> _Function:
    """Compile ``function`` with numba, without fast-math: every result is exact IEEE or integer.

    The machine code is kept in ``NUMBA_CACHE_DIR``, beside the source, or in the user's cache
    folder. If none of them can be written, every process compiles for itself: slower to start,
    with the same results to the bit.
    """
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": False}
    try:
        kernel: _Function = _njit(cache=True, **options)(function)
    except RuntimeError:
        kernel = _njit(cache=False, **options)(function)
    return kernel


def inlined(function: _Function) -> _Function:
    """Mark a function as part of every kernel that calls it.

    It is never compiled alone: with nested kernels LLVM repeats the inner kernel's work at every
    level, which delays the first run on a machine (ADR 32).
    """
    part: _Function = _njit(inline="always", nogil=True)(function)
    return part
