"""JSON-RPC over HTTP: a route to mount, and a server on a loopback address.

The server is for this machine only; for others the coordinator's service mounts the same route with
TLS (``coordinator.http``).
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.node.http_checks import BODY_TIMEOUT_S, HttpChecks, read_body
from contracts.node.serving import STOP_S, ServerHandle, is_loopback, listen, url_of
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import JsonObject

DEFAULT_PORT: Final = 8545
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Enough for a batch of fifty of the largest transactions in hex."""
_KEEP_ALIVE_S: Final = 120
"""Longer than clients pause between requests, since closing a connection is an error for them."""

Endpoint = Callable[[Request], Awaitable[Response]]
Observer = Callable[[str, bool], None]


def _ignore(_method: str, _succeeded: bool) -> None:
    return


class JsonRpc(Protocol):
    """A JSON-RPC service, such as :class:`contracts.node.rpc.Dispatcher`."""

    def handle(self, body: bytes, observe: Observer = _ignore) -> bytes | None:
        """Answer one HTTP body; ``None`` if there are only notifications."""

    def health(self) -> JsonObject:
        """Return the answer to ``GET /healthz``."""


def rpc_endpoint(
    dispatcher: JsonRpc,
    http_checks: HttpChecks,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_timeout_s: float = BODY_TIMEOUT_S,
    threads: Callable[[], anyio.CapacityLimiter | None] = lambda: None,
    observe: Observer = _ignore,
    meter: Callable[[Request, float], None] = lambda _request, _used_s: None,
) -> Endpoint:
    """Return an endpoint that answers ``POST`` with JSON-RPC.

    Parameters
    ----------
    http_checks
        Checks Host header and content type.
    max_body_bytes, body_timeout_s
        A longer body is refused with 413, a slower one with 408.
    threads
        Limits the number of concurrent requests; the event loop's own limit by default.
    observe
        Called for every JSON-RPC request, see ``Dispatcher.handle``.
    meter
        Called with the processor time of each HTTP request, in seconds.
    """

    async def rpc(request: Request) -> Response:
        refused = http_checks.check_host(request) or http_checks.check_content_type(request)
        if refused is not None:
            return refused
        body = await read_body(request, max_body_bytes, timeout_s=body_timeout_s)
        if isinstance(body, Response):
            return body

        def work() -> bytes | None:
            began = time.thread_time()
            try:
                return dispatcher.handle(body, observe)
            finally:
                meter(request, time.thread_time() - began)

        answer = await anyio.to_thread.run_sync(work, limiter=threads())
        if answer is None:
            return Response(status_code=204)
        return Response(answer, media_type="application/json")

    return rpc


def make_app(
    dispatcher: JsonRpc,
    *,
    allowed_hosts: Sequence[str] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """Return the ASGI application: ``POST /`` and ``GET /healthz``.

    Parameters
    ----------
    allowed_hosts
        Host header values accepted in addition to loopback's, without port.
    max_body_bytes
        A longer body is refused with 413.
    """
    http_checks = HttpChecks(allowed_hosts)

    async def healthz(request: Request) -> Response:
        refused = http_checks.check_host(request)
        if refused is not None:
            return refused
        return JSONResponse(dispatcher.health())

    rpc = rpc_endpoint(dispatcher, http_checks, max_body_bytes=max_body_bytes)
    return Starlette(
        routes=[Route("/", rpc, methods=["POST"]), Route("/healthz", healthz, methods=["GET"])]
    )


def serve_in_thread(
    dispatcher: JsonRpc,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    allowed_hosts: Sequence[str] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> ServerHandle:
    """Serve ``dispatcher`` until the handle is stopped; signals are left to the caller.

    Parameters
    ----------
    host
        A loopback address or ``localhost``.
    port
        0 picks a free one; the handle's ``url`` names it.

    Raises
    ------
    ConfigError
        If the address is not loopback, or the port is taken; it is named.
    """
    if not is_loopback(host):
        raise ConfigError(f"host {host!r}: not a loopback address; expected 127.0.0.1, ::1")
    listener = listen(host, port)
    app = make_app(dispatcher, allowed_hosts=allowed_hosts, max_body_bytes=max_body_bytes)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    return ServerHandle(uvicorn.Server(config), listener, url_of(listener, host))
