"""A listening socket that limits each address, and HTTP connections with time limits (ADR 149).

Connections are counted when they are accepted: before TLS, whose handshake a client may leave
unfinished for a minute, and before any limit of the HTTP server.

uvicorn limits only the idle time between requests. Here headers must arrive in time, an answer must
be read in time, and an unread body closes the connection.
"""

import asyncio
import ipaddress
import logging
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.http.limits import HttpLimits

QUIET_S: Final = 10.0
"""Seconds within which the same message about the same address is logged only once."""
_MOST_PEERS: Final = 256
_OWN_FILES: Final = 512
"""Open files that a service needs besides its connections."""
_LOGGER = logging.getLogger(__name__)


class RepeatFilter:
    """Decides which messages about peers to log: each once in a while, none about too many peers.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    quiet_s
        Seconds within which the same message about the same peer is logged only once.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, quiet_s: float = QUIET_S
    ) -> None:
        self._monotonic, self._quiet_s = monotonic, quiet_s
        self._quiet_until: dict[tuple[str, str], float] = {}

    def is_news(self, peer: str, event: str) -> bool:
        """Return whether to log this event now: repeated connections must not fill the disk."""
        now = self._monotonic()
        if self._quiet_until.get((peer, event), 0.0) > now:
            return False
        self._quiet_until = {key: t for key, t in self._quiet_until.items() if t > now}
        if len(self._quiet_until) >= _MOST_PEERS:
            return False
        self._quiet_until[peer, event] = now + self._quiet_s
        return True


class FairListener(socket.socket):
    """A listening socket that closes connections above an address's limit at once.

    For asyncio, which calls :meth:`accept`.

    Parameters
    ----------
    listening
        The socket, which is owned by this one from now on.
    limits
        Its ``connections_per_client`` and ``connections`` apply.
    own
        Addresses that are neither counted nor refused.
    """

    def __init__(
        self, listening: socket.socket, limits: HttpLimits, own: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(fileno=listening.detach())
        self._limits, self._own = limits, own
        self._most = room_for(limits.connections)
        self._open: Counter[str] = Counter()
        self._repeat_filter = RepeatFilter()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection.

        Raises
        ------
        ConnectionAbortedError
            If the connection was above a limit and was closed.
        """
        taken, address = super().accept()
        peer = _plain(str(address[0]))
        if peer in self._own:
            return taken, address
        most = self._limits.connections_per_client
        if self._open[peer] >= most:
            self._refuse(taken, peer, f"more than {most} connections")
        if self._open.total() >= self._most:
            self._refuse(taken, peer, f"{self._most} connections are open")
        return _Counted(taken, peer, self._open), address

    def _refuse(self, taken: socket.socket, peer: str, why: str) -> None:
        taken.close()
        if not self._open[peer]:
            del self._open[peer]
        if self._repeat_filter.is_news(peer, why):
            _LOGGER.warning("%s: refused: %s", peer, why)
        raise ConnectionAbortedError(why)


class _Counted(socket.socket):
    """A connection that is counted until it is closed."""

    def __init__(self, taken: socket.socket, peer: str, count: Counter[str]) -> None:
        super().__init__(fileno=taken.detach())
        self._peer, self._count = peer, count
        count[peer] += 1
        self._counts = True

    def close(self) -> None:
        """Close the connection."""
        if self._counts:
            self._counts = False
            self._count[self._peer] -= 1
            if not self._count[self._peer]:
                del self._count[self._peer]
        super().close()


def room_for(connections: int) -> int:
    """Raise this process's limit of open files for ``connections``; return how many it permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    return max(soft - _OWN_FILES, soft // 2)


def _plain(address: str) -> str:
    """Return the IPv4 address of an IPv4-mapped IPv6 address; others unchanged."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return str(mapped or address)


class GuardedProtocol(H11Protocol):
    """One HTTP connection; :func:`guarded_protocol` sets the limits."""

    limits: ClassVar[HttpLimits]
    repeat_filter: ClassVar[RepeatFilter]

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for headers."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limits."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on; the time limit for headers runs from their first byte to their last."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._expect_headers()
        elif self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def on_response_complete(self) -> None:
        """Continue with the next request; an unread body closes the connection."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Abort the connection now if it is idle, else after its answer.

        Aborted, not closed: over TLS closing waits for the peer's close message.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Start the time limit for a peer that does not read its answer."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.write_s, self._late, "reading")

    def resume_writing(self) -> None:
        """Stop that time limit."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            wait_s = self.limits.header_s
            self._header_timer = self.loop.call_later(wait_s, self._late, "sending headers")

    def _late(self, stage: str) -> None:
        peer = self.client[0] if self.client else "unknown"
        if self.repeat_filter.is_news(peer, stage):
            _LOGGER.warning("%s: too slow in %s; closed", peer, stage)
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._header_timer = self._write_timer = None


def guarded_protocol(limits: HttpLimits) -> type[GuardedProtocol]:
    """Return the protocol class of one server."""
    fields: dict[str, Any] = {"limits": limits, "repeat_filter": RepeatFilter()}
    return cast("type[GuardedProtocol]", type("Guarded", (GuardedProtocol,), fields))
