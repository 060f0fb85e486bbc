"""HTTP/1.1 connections that cannot be kept busy for free.

uvicorn bounds idle time between requests only. Here headers must arrive in time, an answer must
be taken in time, and a body that nobody reads ends the connection. How many connections one address
may hold is the listener's to say (``listener``).
"""

import asyncio
import logging
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.http.limits import HttpLimits
from coordinator.http.listener import Seldom

_LOGGER = logging.getLogger(__name__)


class GuardedProtocol(H11Protocol):
    """One connection; made by :func:`guarded_protocol`, which fills in the limits."""

    limits: ClassVar[HttpLimits]
    seldom: ClassVar[Seldom]

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on; the clock for headers runs from their first byte to their last."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._expect_headers()
        elif self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def on_response_complete(self) -> None:
        """Go on with the next request; a body that was not read is not waited for."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def shutdown(self) -> None:
        """End the connection now if it is idle, else with its answer.

        Cut, not closed: over TLS a closing connection waits for its peer to say goodbye too.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Start the clock for a peer that takes no more of an answer."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.write_s, self._late, "reading")

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            wait_s = self.limits.header_s
            self._header_timer = self.loop.call_later(wait_s, self._late, "sending headers")

    def _late(self, what: str) -> None:
        peer = self.client[0] if self.client else "unknown"
        if self.seldom.is_news(peer, what):
            _LOGGER.warning("%s: too slow in %s; closed", peer, what)
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._header_timer = self._write_timer = None


def guarded_protocol(limits: HttpLimits) -> type[GuardedProtocol]:
    """Return the protocol class of one server."""
    fields: dict[str, Any] = {"limits": limits, "seldom": Seldom()}
    return cast("type[GuardedProtocol]", type("Guarded", (GuardedProtocol,), fields))
