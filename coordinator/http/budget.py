"""How much of the processor one client may use for JSON-RPC.

A call costs its sender nothing and the embedded chain up to seconds (16.8 M gas of py-evm), during
which no block is made. So the processor time of each client's requests is counted, and whoever has
used up a share waits. Processes of this machine are not counted: they could use it up anyway.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.chain.serving import is_loopback

_MOST_CLIENTS: Final = 10_000


@dataclass(slots=True)
class _Account:
    left_s: float
    seen_s: float


class CpuBudget:
    """A bucket of processor seconds for each client, filled slowly; safe to share.

    Parameters
    ----------
    burst_s
        What a client may use at once.
    share
        Seconds that flow back in each second, up to ``burst_s``.
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(
        self, burst_s: float, share: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst_s = burst_s
        self._share = share
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def wait_s(self, client: str) -> float:
        """Return how long a client must wait before its next request; 0 for now."""
        with self._lock:
            account = self._accounts.get(client)
            if account is None:
                return 0.0
            self._refill(account)
            return max(0.0, -account.left_s / self._share)

    def spend(self, client: str, used_s: float) -> None:
        """Take what a request used; it may overdraw, which the next one waits for."""
        if is_loopback(client):
            return
        with self._lock:
            account = self._accounts.get(client)
            if account is None:
                if len(self._accounts) >= _MOST_CLIENTS:
                    self._forget_full()
                now = self._monotonic()
                account = self._accounts[client] = _Account(self._burst_s, now)
            self._refill(account)
            account.left_s -= used_s

    def _refill(self, account: _Account) -> None:
        now = self._monotonic()
        refilled = account.left_s + (now - account.seen_s) * self._share
        account.left_s, account.seen_s = min(self._burst_s, refilled), now

    def _forget_full(self) -> None:
        for client, account in list(self._accounts.items()):
            self._refill(account)
            if account.left_s >= self._burst_s:
                del self._accounts[client]
