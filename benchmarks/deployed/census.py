"""Memory and processor time of a deployment's processes, by what they are."""

import os
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

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
    values: dict[str, float] = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size = line.split()[:2]
            values[name] = int(size) / 1024
    except OSError:
        return None
    if "Pss:" not in values:
        return None
    private = values["Private_Clean:"] + values["Private_Dirty:"]
    return Memory(values["Pss:"], values["Rss:"], private)


def memory(kinds: Mapping[int, Kind]) -> dict[Kind, Memory]:
    """Return the median memory of one process of each kind."""
    found = {pid: memory_of(pid) for pid in kinds}
    return _medians({pid: one for pid, one in found.items() if one is not None}, kinds)


def cpu_seconds(kinds: Mapping[int, Kind]) -> dict[Kind, float]:
    """Return the processor time so far, of all processes of a kind together."""
    spent: dict[Kind, float] = defaultdict(float)
    for pid, kind in kinds.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        spent[kind] += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
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
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            yield int(entry), int(text.rsplit(")", 1)[1].split()[1])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
