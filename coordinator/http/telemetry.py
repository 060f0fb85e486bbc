"""What happened since the process started: counted here, read by ``/metrics``.

Counts are of this process's life; what the chain knows is asked of the chain. Safe to share.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from coordinator.core import rounds as machine

BUCKETS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)
"""Upper bounds of the histogram of round durations."""
RPC_CLASSES: Final = {
    "eth_sendRawTransaction": "send",
    "eth_call": "call",
    "eth_estimateGas": "call",
    "eth_getLogs": "logs",
}


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: rounds that took at most each of ``BUCKETS_S``, all rounds, their seconds."""

    within: tuple[int, ...]
    count: int
    sum_s: float
    last_s: float


class Telemetry:
    """Counts rounds, updates, requests and bytes.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._rounds: Counter[str] = Counter()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._sent_bytes: Counter[str] = Counter()
        self._rpc: Counter[tuple[str, str]] = Counter()
        self._began_s: float | None = None
        self._within = [0] * len(BUCKETS_S)
        self._sum_s = self._last_s = 0.0
        self._timed = 0

    # --- told --------------------------------------------------------------------------------

    def observe(self, event: machine.Event) -> None:
        """Count an event of a round; an observer for ``RoundService``."""
        with self._lock:
            match event:
                case machine.RoundOpened():
                    self._began_s = self._monotonic()
                case machine.UpdateAccepted():
                    self._accepted += 1
                case machine.UpdateRefused():
                    self._refused[event.code] += 1
                case machine.Equivocated():
                    self._refused["equivocation"] += 1
                case machine.RoundSealed():
                    self._rounds["sealed"] += 1
                    self._end_round()
                case machine.RoundVoided():
                    self._rounds["void"] += 1
                    self._began_s = None
                case _:
                    pass

    def _end_round(self) -> None:
        if self._began_s is None:
            return
        self._last_s = self._monotonic() - self._began_s
        self._began_s = None
        self._sum_s += self._last_s
        self._timed += 1
        place = bisect_left(BUCKETS_S, self._last_s)
        for index in range(place, len(BUCKETS_S)):
            self._within[index] += 1

    def count_refusal(self, code: str) -> None:
        """Count a submission that was refused before it reached the round."""
        with self._lock:
            self._refused[code] += 1

    def count_request(self, route: str, status: int, sent_bytes: int) -> None:
        """Count an HTTP request that was answered."""
        with self._lock:
            self._requests[route, str(status)] += 1
            self._sent_bytes[route] += sent_bytes

    def count_rpc(self, method: str, succeeded: bool) -> None:
        """Count a JSON-RPC request; an observer for the chain's dispatcher."""
        kind = RPC_CLASSES.get(method, "read") if method else "unknown"
        with self._lock:
            self._rpc[kind, "ok" if succeeded else "refused"] += 1

    # --- asked -------------------------------------------------------------------------------

    @property
    def accepted(self) -> int:
        """Updates that passed every check."""
        return self._accepted

    @property
    def refused(self) -> dict[str, int]:
        """Refused submissions, by code."""
        with self._lock:
            return dict(self._refused)

    @property
    def rounds(self) -> dict[str, int]:
        """Rounds that ended in this process's life, by how."""
        with self._lock:
            return dict(self._rounds)

    @property
    def durations(self) -> Durations:
        """Seconds from the opening of a round to its seal."""
        with self._lock:
            return Durations(tuple(self._within), self._timed, self._sum_s, self._last_s)

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """HTTP requests, by route and status."""
        with self._lock:
            return dict(self._requests)

    @property
    def sent_bytes(self) -> dict[str, int]:
        """Bytes of answers' bodies, by route."""
        with self._lock:
            return dict(self._sent_bytes)

    @property
    def rpc(self) -> dict[tuple[str, str], int]:
        """JSON-RPC requests, by class and outcome."""
        with self._lock:
            return dict(self._rpc)
