"""Times alternatives against each other, and describes the machine.

A single time means little, a ratio within one run much more: alternatives are interleaved, one
repetition of each in turn, so that a busy minute of the machine affects all of them (ADR 43).
"""

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from coordinator.protocol.parallel import available_threads, over_spans

REPEATS = 5
SLOW_S = 20.0
"""A rival whose first run takes longer has no warm-up: its first run counts."""

PACKAGES = ("numpy", "numba", "flwr", "torch", "web3", "py-evm", "vyper", "coincurve", "ray")


@dataclass(frozen=True)
class Timing:
    """Seconds of one rival; ``runs`` of them, without the warm-up if there was one."""

    median_s: float
    runs: int


def interleaved(
    rivals: Mapping[str, Callable[[], object]],
    *,
    repeats: int = REPEATS,
    prepare: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Timing]:
    """Return the median time of each rival over ``repeats`` rounds of all of them.

    Parameters
    ----------
    rivals
        The functions to time, by name. The first run of each is a warm-up (compilation, page
        faults), unless it takes more than :data:`SLOW_S`, compared with which these are negligible.
    prepare
        Functions to call before each run of a rival, untimed.
    """
    prepare = prepare or {}
    first = {name: _seconds(rival, prepare.get(name)) for name, rival in rivals.items()}
    times = {name: [took] if took > SLOW_S else [] for name, took in first.items()}
    for _ in range(repeats):
        for name, rival in rivals.items():
            if len(times[name]) < repeats:
                times[name].append(_seconds(rival, prepare.get(name)))
    return {name: Timing(statistics.median(took), len(took)) for name, took in times.items()}


def _seconds(rival: Callable[[], object], prepare: Callable[[], object] | None) -> float:
    if prepare is not None:
        prepare()
    start = time.perf_counter()
    rival()
    return time.perf_counter() - start


def read_once(rows: Sequence[NDArray[Any]]) -> int:
    """Read every byte of the rows on all cores and combine them by ``or``.

    A lower bound for the time of any aggregation, as ``or`` is one instruction per vector register.
    """

    def span(start: int, stop: int) -> int:
        return max(int(np.bitwise_or.reduce(row[start:stop])) for row in rows)

    return max(over_spans(span, rows[0].shape[0], cost=len(rows)))


def machine() -> str:
    """Return cores, memory, processor and package versions, on one line."""
    return (
        f"{available_threads()} cores, {_memory_gb():.0f} GB, {_processor()}, "
        f"Python {platform.python_version()}, {versions()}"
    )


def versions() -> str:
    """Return the installed versions of :data:`PACKAGES`."""
    installed = []
    for name in PACKAGES:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(installed)


def available_memory_bytes() -> int:
    """Return the memory that could be allocated now without swapping, in bytes."""
    return int(psutil.virtual_memory().available)


def _memory_gb() -> float:
    return float(psutil.virtual_memory().total) / 2**30


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; columns in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {c: all(isinstance(row.get(c, 0), int | float) for row in rows) for c in columns}
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if numeric[column] else "---" for column in columns) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
