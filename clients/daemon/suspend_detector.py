"""Notices that this process stood still: stopped, swapped out, its machine suspended.

Whatever was in flight then has lapsed at the other end: connections, upload sessions, heartbeats.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

LONGEST_S: Final = 30.0
"""What is not yet a standstill, on a machine with too much to do."""
_TICK_S: Final = 1.0


def since_boot() -> float:
    """Return the seconds since the machine started, those it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SuspendDetector:
    """A thread that does nothing but to see how long that takes.

    Parameters
    ----------
    longest_s
        Shorter ones are not told.
    clock
        Seconds, the same wherever it is asked, and going on while processes are stopped.
    """

    def __init__(
        self, longest_s: float = LONGEST_S, clock: Callable[[], float] = since_boot
    ) -> None:
        self._longest_s, self._clock = longest_s, clock
        self._lock = threading.Lock()
        self._stood_s, self._last = 0.0, clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedproof-standstill", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._last = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()

    def look(self) -> None:
        """Note how long ago the last look was; the thread does this every second."""
        with self._lock:
            now = self._clock()
            if now - self._last > self._longest_s:
                self._stood_s = max(self._stood_s, now - self._last)
            self._last = now

    def take(self) -> float:
        """Return the longest standstill since this was last asked, in seconds; 0 for none."""
        with self._lock:
            taken, self._stood_s = self._stood_s, 0.0
        return taken

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.look()
