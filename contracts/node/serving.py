"""A listening socket, and an HTTP server over it that runs in a thread."""

import ipaddress
import socket
import threading
import time
from typing import Final

import uvicorn

from coordinator.protocol.errors import ChainUnavailableError, ConfigError

STOP_S: Final = 5
"""Longest wait for requests in progress when a server stops."""
_POLL_S: Final = 0.005


class ServerHandle:
    """A server that runs in a thread; a context manager.

    Attributes
    ----------
    url
        Its URL, for example ``http://127.0.0.1:8545``.
    """

    def __init__(
        self,
        server: uvicorn.Server,
        listener: socket.socket,
        url: str,
        *,
        thread_name: str = "fedproof-rpc",
    ) -> None:
        self.url = url
        self._server = server
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name=thread_name, daemon=True
        )
        self._thread.start()
        while not server.started:
            if not self._thread.is_alive():
                raise ChainUnavailableError(f"{url}: the server did not start; see the log")
            time.sleep(_POLL_S)

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the requests in progress and stop. Idempotent."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> "ServerHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 picks a free one.

    Raises
    ------
    ConfigError
        If the port is out of range or in use, or the address is not this machine's.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port {port}: expected 0..65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is given, since asyncio sets TCP_NODELAY only then (40 ms per answer without).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as failed:
        listener.close()
        raise ConfigError(f"{host}:{port}: cannot listen there: {failed.strerror}") from failed
    return listener


def url_of(listener: socket.socket, host: str, scheme: str = "http") -> str:
    """Return the URL of a listening socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Return whether an address, or ``localhost``, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
