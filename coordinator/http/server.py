"""Serves the application on a port, in a thread, with TLS unless the address is loopback.

Not handled: TLS itself (``tls``).
"""

import logging
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvicorn

from contracts.node.serving import STOP_S, ServerHandle, is_loopback, listen, url_of
from coordinator.http.app import make_app
from coordinator.http.http_context import HttpContext
from coordinator.http.listener import FairListener, guarded_protocol
from coordinator.http.tls import certificate_end, load_certificate, server_context
from coordinator.protocol.errors import ConfigError

_THREAD: Final = "fedproof-http"
_ANY: Final = ("0.0.0.0", "::")
_MAX_HEADER_BYTES: Final = 16 * 1024


@dataclass
class CertificateEnd:
    """Unix time at which the current certificate expires, ``None`` without TLS."""

    at_s: float | None = None


class HttpHandle(ServerHandle):
    """A running server; ``url`` is its address, ``stop`` ends it."""

    def __init__(
        self,
        server: uvicorn.Server,
        url: str,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        ends: CertificateEnd,
    ) -> None:
        super().__init__(server, listener, url, thread_name=_THREAD)
        self._context, self._ends = context, ends

    def renew_certificate(self, certfile: Path, keyfile: Path) -> None:
        """Use another certificate for new connections; open ones are kept.

        Raises
        ------
        ConfigError
            If the certificate cannot be used; the old one stays in use.
        """
        if self._context is None:
            raise ConfigError(f"{self.url} is served without TLS: there is nothing to renew")
        end_s = certificate_end(certfile).timestamp()
        # Checked first, because a context that loaded a wrong pair of files can serve nobody.
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certfile, keyfile)
        load_certificate(self._context, certfile, keyfile)
        self._ends.at_s = end_s


def serve_http(
    http_context: HttpContext,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> HttpHandle:
    """Serve until the handle is stopped; the caller handles signals.

    Parameters
    ----------
    port
        0 picks a free one, which the handle's ``url`` shows.
    certfile, keyfile
        PEM files of the server's certificate (chain) and its key; both or neither.

    Raises
    ------
    ConfigError
        If the address is not loopback and there is no certificate, the certificate cannot be
        used, or the port is taken.
    """
    context, ends = None, CertificateEnd()
    if certfile is not None and keyfile is not None:
        context = server_context(certfile, keyfile)
        ends.at_s = certificate_end(certfile).timestamp()
    elif certfile is not None or keyfile is not None:
        raise ConfigError("http.certificate and http.key belong together: one of them is missing")
    elif not is_loopback(host):
        raise ConfigError(
            f"http.host = {host!r} is not a loopback address: it needs http.certificate and "
            "http.key (fedproof federation init makes them)"
        )
    own = [] if host in _ANY else [f"[{host}]" if ":" in host else host]
    http_context = replace(http_context, allowed_hosts=[*http_context.allowed_hosts, *own])
    app = make_app(http_context, certificate_end_s=lambda: ends.at_s)
    limits = http_context.limits
    listener = FairListener(listen(host, port), limits)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=guarded_protocol(limits),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ssl_context_factory=None if context is None else lambda *_: context,
    )
    url = url_of(listener, host, "http" if context is None else "https")
    return HttpHandle(uvicorn.Server(config), url, listener, context, ends)
