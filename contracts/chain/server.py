"""The dispatcher over HTTP on a loopback address.

A browser is the attacker in mind: any web page can send requests to a local port. So the Host
header must be one of ours (DNS rebinding), the content type must be JSON (a page cannot send
that without asking first, and we never say yes), and only loopback addresses are bound.
Participants on other machines use a chain of their own choice, or a tunnel.
"""

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.chain.rpc import Dispatcher
from coordinator.core.errors import ChainUnavailableError, ConfigError

DEFAULT_PORT: Final = 8545
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Enough for a batch of fifty of the largest transactions in hex."""
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_KEEP_ALIVE_S: Final = 120
"""Longer than clients pause between requests: a connection closed under one is an error there."""
_STOP_S: Final = 5
_POLL_S: Final = 0.005


def make_app(
    dispatcher: Dispatcher,
    *,
    allowed_hosts: Sequence[str] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """Return the ASGI application: ``POST /`` and ``GET /healthz``.

    Parameters
    ----------
    allowed_hosts
        Host header values accepted besides loopback's, without port.
    max_body_bytes
        A longer body is answered with 413.
    """
    door = _Door(frozenset(name.lower() for name in (*LOOPBACK_HOSTS, *allowed_hosts)))

    async def rpc(request: Request) -> Response:
        refused = door.check_host(request) or door.check_content_type(request)
        if refused is not None:
            return refused
        try:
            body = await _read_body(request, max_body_bytes)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _refusal(413, f"body is longer than {max_body_bytes} bytes")
        answer = await run_in_threadpool(dispatcher.handle, body)
        if answer is None:
            return Response(status_code=204)
        return Response(answer, media_type="application/json")

    async def healthz(request: Request) -> Response:
        refused = door.check_host(request)
        if refused is not None:
            return refused
        node = dispatcher.node
        return JSONResponse(
            {"status": "ok", "chain_id": node.genesis.chain_id, "block": node.head_number}
        )

    return Starlette(
        routes=[Route("/", rpc, methods=["POST"]), Route("/healthz", healthz, methods=["GET"])]
    )


@dataclass(frozen=True, slots=True)
class _Door:
    """Decides by the headers who may come in."""

    allowed_hosts: frozenset[str]

    def check_host(self, request: Request) -> Response | None:
        given = request.headers.get("host", "")
        name = given.lower()
        if not name.endswith("]"):
            name, _, port = name.rpartition(":") if ":" in name else (name, "", "")
            if port and not port.isdigit():
                return _refusal(403, f"Host {given!r} is malformed")
        if name in self.allowed_hosts:
            return None
        return _refusal(403, f"Host {given!r} is not allowed")

    def check_content_type(self, request: Request) -> Response | None:
        given = request.headers.get("content-type", "")
        if given.split(";")[0].strip().lower() == "application/json":
            return None
        return _refusal(415, f"content type {given!r}, expected application/json")


async def _read_body(request: Request, limit_bytes: int) -> bytes | None:
    """Read at most ``limit_bytes``; ``None`` if there is more, without keeping it."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit_bytes:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit_bytes:
            return None
    return bytes(body)


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status)


class ServerHandle:
    """A server that runs in a thread; a context manager.

    Attributes
    ----------
    url
        Where it answers, for example ``http://127.0.0.1:8545``.
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket, url: str) -> None:
        self.url = url
        self._server = server
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="fedproof-rpc", daemon=True
        )
        self._thread.start()
        while not server.started:
            if not self._thread.is_alive():
                raise ChainUnavailableError(f"{url}: the server did not start; see the log")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Finish what is being answered and stop. Harmless when repeated."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> "ServerHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve_in_thread(
    dispatcher: Dispatcher,
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
    listener = _listen(host, port)
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
        timeout_graceful_shutdown=_STOP_S,
    )
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    return ServerHandle(uvicorn.Server(config), listener, url)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port {port}: expected 0..65535")
    if not _is_loopback(host):
        raise ConfigError(f"host {host!r}: not a loopback address; expected 127.0.0.1, ::1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as failed:
        listener.close()
        raise ConfigError(f"{host}:{port}: cannot listen there: {failed.strerror}") from failed
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
