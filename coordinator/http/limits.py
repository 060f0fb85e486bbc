"""Limits on the resources of one client: generous for participants, small for abuse.

A call is free for its sender but costs the embedded chain up to seconds (16.8 M gas of py-evm), in
which no block is made. So the processor time of each client's requests is counted, and a client
that has used up its share must wait. Processes of this machine are not counted: they could use up
the processor anyway.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.node.serving import is_loopback

_MOST_CLIENTS: Final = 10_000


@dataclass(slots=True)
class _Account:
    left_s: float
    seen_s: float


class CpuBudget:
    """A token bucket of processor seconds for each client; thread-safe.

    Parameters
    ----------
    burst_s
        Seconds that a client may use at once.
    share
        Seconds added in each second, up to ``burst_s``.
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
        """Return the seconds a client must wait before its next request."""
        with self._lock:
            account = self._accounts.get(client)
            if account is None:
                return 0.0
            self._refill(account)
            return max(0.0, -account.left_s / self._share)

    def spend(self, client: str, used_s: float) -> None:
        """Subtract the time a request used; the budget may become negative."""
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


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of the HTTP server.

    Attributes
    ----------
    body_bytes
        Longest request body, enough for several transactions of at most 128 KiB before hex.
    requests_per_client, connections_per_client
        Concurrent requests, and open connections, of one address.
    connections
        Open connections of all clients together.
    header_s, body_s, write_s
        Seconds a client may take to send its headers, to send its body, and to read more of an
        answer. A slower one keeps its connection busy on purpose, or is dead.
    keep_alive_s
        Seconds a connection may be idle between requests.
    rpc_threads, read_threads
        Concurrent JSON-RPC requests, and concurrent reads of blobs from disk.
    cpu_burst_s, cpu_share
        Processor seconds that one client's JSON-RPC may use at once, and in each second.
    """

    body_bytes: int = 2 * 1024 * 1024
    requests_per_client: int = 64
    connections_per_client: int = 256
    connections: int = 2_048
    header_s: float = 15.0
    body_s: float = 30.0
    write_s: float = 60.0
    keep_alive_s: int = 120
    rpc_threads: int = 4
    read_threads: int = 8
    cpu_burst_s: float = 20.0
    cpu_share: float = 0.25
