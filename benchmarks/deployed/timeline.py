"""The times of a round's phases, from the marks of a deployment."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

PHASES = (
    "sealed to next opened",
    "opened to training (slowest node)",
    "training",
    "trained to received",
    "received to sealed",
)


@dataclass(frozen=True)
class RoundTimes:
    """Times of one round's events, in seconds since the epoch.

    ``begun`` and ``trained`` are those of the contributor that finished last; at ``received`` the
    coordinator had all updates.
    """

    opened: float
    begun: float
    trained: float
    received: float
    sealed: float

    def phases(self, before: "RoundTimes") -> list[float]:
        """Return the seconds of each of :data:`PHASES`, which add up to the round."""
        return [
            self.opened - before.sealed,
            self.begun - self.opened,
            self.trained - self.begun,
            self.received - self.trained,
            self.sealed - self.received,
        ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file of JSON lines that may still be written to."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def rounds_of(clocks: Iterable[Mapping[str, Any]]) -> list[RoundTimes]:
    """Return the rounds that are sealed, in order.

    Each line has ``round``, ``time`` and ``event`` (``opened``, ``begun``, ``trained``,
    ``received``, ``sealed``). Of several lines of an event, the last counts; of ``begun``, that of
    the contributor that finished last.
    """
    last: dict[int, dict[str, float]] = defaultdict(dict)
    begun: dict[tuple[int, str], float] = {}
    for line in clocks:
        times, event = last[int(line["round"])], str(line["event"])
        if event == "begun":
            begun[int(line["round"]), str(line["by"])] = line["time"]
        elif line["time"] > times.get(event, 0.0):
            times[event] = line["time"]
            if event == "trained":
                times["begun"] = begun[int(line["round"]), str(line["by"])]
    return [RoundTimes(**last[number]) for number in sorted(last) if "sealed" in last[number]]


def instant(text: str) -> float:
    """Return an ISO 8601 time as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def latencies(rounds: Sequence[RoundTimes]) -> list[float]:
    """Return the seconds from one round's seal to the next; the first is not counted."""
    return [b.sealed - a.sealed for a, b in pairwise(rounds)]


def phases(rounds: Sequence[RoundTimes]) -> list[list[float]]:
    """Return the seconds of each round's phases; the first is not counted."""
    return [b.phases(a) for a, b in pairwise(rounds)]
