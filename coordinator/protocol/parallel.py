"""Splits columns among threads.

No rule's column depends on another column, so the result does not depend on the split; the kernels
release the interpreter's lock. Threads are started for one call and joined before it returns, so
that a fork or a call from another thread is safe: numba's own threading layers abort in both cases
(ADR 41).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")

SMALLEST_SPAN = 1 << 15
"""Values below which a second thread costs more than it saves."""

_SPANS_PER_THREAD = 4
"""More spans than threads, so that one slow core does not set the time."""


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_spans(
    kernel: Callable[[int, int], _Result], size: int, *, cost: int = 1, threads: int | None = None
) -> list[_Result]:
    """Call ``kernel(start, stop)`` on spans that cover ``range(size)``, in order, once each.

    Parameters
    ----------
    cost
        Values read per column, usually the number of rows; decides whether to use threads.
    threads
        At most this many; all cores this process may use when ``None``.

    Returns
    -------
    The kernel's results, in the order of the spans.

    Examples
    --------
    >>> over_spans(lambda start, stop: (start, stop), 10)
    [(0, 10)]
    >>> over_spans(lambda start, stop: stop - start, 10, cost=1 << 20, threads=2)
    [1, 1, 1, 2, 1, 1, 1, 2]
    """
    threads = available_threads() if threads is None else max(1, threads)
    spans = min(size, threads * _SPANS_PER_THREAD, size * cost // SMALLEST_SPAN)
    if threads == 1 or spans < 2:
        return [kernel(0, size)]
    edges = [size * span // spans for span in range(spans + 1)]
    with ThreadPoolExecutor(max_workers=min(threads, spans)) as pool:
        return list(pool.map(kernel, edges[:-1], edges[1:]))
