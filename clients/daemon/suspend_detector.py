"""Detects that this process did not run for a while: stopped, swapped out, or machine suspended.

Connections, upload sessions and heartbeats have expired at the other side by then.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

LONGEST_S: Final = 30.0
"""Seconds without running that are still normal on a busy machine."""
_TICK_S: Final = 1.0


def since_boot() -> float:
    """Return the seconds since the machine's boot, including those it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SuspendDetector:
    """A thread that wakes up regularly, and measures how late it is.

    Parameters
    ----------
    longest_s
        Shorter suspensions are not reported.
    clock
        A clock in seconds that goes on while processes are stopped or the machine is suspended.
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
        """Start the thread."""
        self._last = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()

    def look(self) -> None:
        """Note the time since the last call; the thread calls this every second."""
        with self._lock:
            now = self._clock()
            if now - self._last > self._longest_s:
                self._stood_s = max(self._stood_s, now - self._last)
            self._last = now

    def take(self) -> float:
        """Return the longest suspension since the last call, in seconds; 0 for none."""
        with self._lock:
            taken, self._stood_s = self._stood_s, 0.0
        return taken

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.look()
