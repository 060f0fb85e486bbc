"""Memory and processor time of a deployment's processes, by kind."""

import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

PARTS = {
    "simulations coordinator": "service",
    "simulations client": "daemon",
    "coordinator.flower.superlink": "SuperLink",
    "flower-superlink": "SuperLink",
    "flower-supernode": "SuperNode",
    "flower-superexec": "superexec",
    "flwr-serverapp": "ServerApp",
    "flwr-clientapp": "ClientApp",
}
PASSING = ("ServerApp", "ClientApp")
"""Processes that end with a round, so that they are sampled during the rounds."""

Kind = tuple[str, str]
"""Owner (``coordinator`` or ``participant``) and part of :data:`PARTS`."""


@dataclass(frozen=True)
class Memory:
    """Megabytes; ``pss`` counts a share of memory shared with other processes, ``private`` none."""

    pss: float
    rss: float
    private: float


def processes(roots: Mapping[str, int]) -> dict[int, Kind]:
    """Return the roots and their descendants that are of a known kind."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    kinds: dict[int, Kind] = {}
    for name, root in roots.items():
        owner = name if name == "coordinator" else "participant"
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            waiting += children[pid]
            command = _command(pid)
            part = next((part for text, part in PARTS.items() if text in command), "")
            if part:
                kinds[pid] = (owner, part)
    return kinds


def memory_of(pid: int) -> Memory | None:
    """Return a process's memory, ``None`` if it has ended."""
    try:
        info = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return Memory(info.pss / 2**20, info.rss / 2**20, info.uss / 2**20)


def memory(kinds: Mapping[int, Kind]) -> dict[Kind, Memory]:
    """Return the median memory of one process of each kind."""
    sizes = {pid: memory_of(pid) for pid in kinds}
    return _medians({pid: size for pid, size in sizes.items() if size is not None}, kinds)


def cpu_seconds(kinds: Mapping[int, Kind]) -> dict[Kind, float]:
    """Return the processor time so far, summed over the processes of each kind."""
    spent: dict[Kind, float] = defaultdict(float)
    for pid, kind in kinds.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        spent[kind] += times.user + times.system
    return spent


class MemorySampler:
    """Samples the memory of short-lived processes from a thread; a context manager.

    ``roots`` is called for each sample, since some of them may start later.
    """

    def __init__(self, roots: Callable[[], Mapping[str, int]], every_s: float) -> None:
        self._roots, self._every_s = roots, every_s
        self._largest: dict[int, Memory] = {}
        self._kinds: dict[int, Kind] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def result(self) -> dict[Kind, Memory]:
        """Return the median of the processes' largest samples, by kind."""
        return _medians(self._largest, self._kinds)

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            for pid, kind in processes(self._roots()).items():
                size = memory_of(pid) if kind[1] in PASSING else None
                largest = self._largest.get(pid)
                if size is not None and (largest is None or size.pss > largest.pss):
                    self._largest[pid], self._kinds[pid] = size, kind


def _medians(sizes: Mapping[int, Memory], kinds: Mapping[int, Kind]) -> dict[Kind, Memory]:
    grouped: dict[Kind, list[Memory]] = defaultdict(list)
    for pid, size in sizes.items():
        grouped[kinds[pid]].append(size)
    return {kind: _median(group) for kind, group in grouped.items()}


def _median(sizes: Sequence[Memory]) -> Memory:
    return Memory(
        statistics.median(size.pss for size in sizes),
        statistics.median(size.rss for size in sizes),
        statistics.median(size.private for size in sizes),
    )


def _parents() -> Iterator[tuple[int, int]]:
    for process in psutil.process_iter(["ppid"]):
        yield process.pid, process.info["ppid"]


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
