"""Memory and processor time of a deployment's processes, by what they are."""

import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
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
"""Processes that are gone once the rounds are: looked at while there are rounds."""

Kind = tuple[str, str]
"""Whose it is (``coordinator`` or ``participant``), and what."""


@dataclass(frozen=True)
class Memory:
    """``pss`` shares out what several processes have in common, ``private`` leaves it out; MB."""

    pss: float
    rss: float
    private: float


def processes(roots: Mapping[str, int]) -> dict[int, Kind]:
    """Return the processes below some roots, and these, that are of a known kind."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    found: dict[int, Kind] = {}
    for name, root in roots.items():
        whose = name if name == "coordinator" else "participant"
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            waiting += children[pid]
            command = _command(pid)
            part = next((part for text, part in PARTS.items() if text in command), "")
            if part:
                found[pid] = (whose, part)
    return found


def memory_of(pid: int) -> Memory | None:
    """Return a process's memory; ``None`` if it has gone."""
    try:
        found = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return Memory(found.pss / 2**20, found.rss / 2**20, found.uss / 2**20)


def memory(kinds: Mapping[int, Kind]) -> dict[Kind, Memory]:
    """Return the median memory of one process of each kind."""
    found = {pid: memory_of(pid) for pid in kinds}
    return _medians({pid: one for pid, one in found.items() if one is not None}, kinds)


def cpu_seconds(kinds: Mapping[int, Kind]) -> dict[Kind, float]:
    """Return the processor time so far, of all processes of a kind together."""
    spent: dict[Kind, float] = defaultdict(float)
    for pid, kind in kinds.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        spent[kind] += times.user + times.system
    return spent


class Watch:
    """Looks at processes that do not stay, from a thread; a context manager.

    ``roots`` is asked at each look: not all of them may have been started yet.
    """

    def __init__(self, roots: Callable[[], Mapping[str, int]], every_s: float) -> None:
        self._roots, self._every_s = roots, every_s
        self._largest: dict[int, Memory] = {}
        self._kinds: dict[int, Kind] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def result(self) -> dict[Kind, Memory]:
        """Return the median of the largest sizes that were seen, by kind."""
        return _medians(self._largest, self._kinds)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            for pid, kind in processes(self._roots()).items():
                found = memory_of(pid) if kind[1] in PASSING else None
                before = self._largest.get(pid)
                if found is not None and (before is None or found.pss > before.pss):
                    self._largest[pid], self._kinds[pid] = found, kind


def _medians(sizes: Mapping[int, Memory], kinds: Mapping[int, Kind]) -> dict[Kind, Memory]:
    grouped: dict[Kind, list[Memory]] = defaultdict(list)
    for pid, one in sizes.items():
        grouped[kinds[pid]].append(one)
    return {kind: _median(some) for kind, some in grouped.items()}


def _median(some: Iterable[Memory]) -> Memory:
    held = list(some)
    return Memory(
        statistics.median(one.pss for one in held),
        statistics.median(one.rss for one in held),
        statistics.median(one.private for one in held),
    )


def _parents() -> Iterator[tuple[int, int]]:
    for process in psutil.process_iter(["ppid"]):
        yield process.pid, process.info["ppid"]


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
