"""The application on a port: in a thread, over TLS wherever it is not loopback.

TLS is version 1.2 at least, and a failed handshake is logged with its reason. Not handled: client
certificates. Who may read what is decided by signatures of accounts.
"""

import logging
import socket
import ssl
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvicorn
from cryptography import x509

from contracts.node.serving import STOP_S, ServerHandle, is_loopback, listen, url_of
from coordinator.http.app import make_app
from coordinator.http.http_context import HttpContext
from coordinator.http.listener import FairListener, guarded_protocol
from coordinator.protocol.errors import ConfigError

QUIET_S: Final = 10.0
"""How long the same reason is not logged again as a warning."""
_quiet_until: dict[str, float] = {}
_LOGGER = logging.getLogger(__name__)
_REASONS: Final = {
    "HTTP_REQUEST": "plain HTTP on the TLS port; it has to say https://",
    "WRONG_VERSION_NUMBER": "no TLS at all on the TLS port",
    "UNSUPPORTED_PROTOCOL": "a TLS version below 1.2",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our certificate (its --ca file is another one)",
    "TLSV1_ALERT_DECRYPT_ERROR": "it does not trust our certificate (its authority has the same "
    "name, but another key)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refused our certificate",
}


class LoggedHandshake(ssl.SSLObject):
    """Says in the log why a handshake failed; asyncio itself drops such connections silently."""

    def do_handshake(self) -> None:
        """Shake hands."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as failed:
            _log_refusal(str(failed.reason))
            raise


def _log_refusal(code: str) -> None:
    """Write a line, but no flood of them: whoever may connect could fill the disk with it."""
    now = time.monotonic()
    level = logging.WARNING if now >= _quiet_until.get(code, 0.0) else logging.DEBUG
    if level == logging.WARNING:
        _quiet_until[code] = now + QUIET_S
    _LOGGER.log(level, "refused a connection: %s", _REASONS.get(code, code))


def server_context(certfile: Path, keyfile: Path) -> ssl.SSLContext:
    """Return the context of a server with this certificate (chain) and key.

    Raises
    ------
    ConfigError
        If a file is missing or malformed, they do not belong together, or the certificate is
        not valid now; the file is named.
    """
    certificate_end(certfile)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = LoggedHandshake
    load_certificate(context, certfile, keyfile)
    return context


def load_certificate(context: ssl.SSLContext, certfile: Path, keyfile: Path) -> None:
    """Use a certificate for connections from now on; raises as :func:`server_context`."""
    try:
        context.load_cert_chain(certfile, keyfile)
    except ssl.SSLError as error:
        raise ConfigError(
            f"certificate {certfile} and key {keyfile}: cannot be used together: {error.reason}"
        ) from error
    except OSError as error:
        raise ConfigError(f"key {keyfile}: {error.strerror or error}") from error


def certificate_end(certfile: Path) -> datetime:
    """Return when a certificate stops being valid.

    Raises
    ------
    ConfigError
        If the file is missing or malformed, or the certificate is not valid now.
    """
    try:
        found = x509.load_pem_x509_certificate(certfile.read_bytes())
    except OSError as error:
        raise ConfigError(f"certificate {certfile}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"certificate {certfile}: not a PEM certificate") from error
    start, end = found.not_valid_before_utc, found.not_valid_after_utc
    now = datetime.now(UTC)
    if now >= end:
        raise ConfigError(f"certificate {certfile}: expired on {end:%Y-%m-%d %H:%M} UTC")
    if now < start:
        raise ConfigError(
            f"certificate {certfile}: not valid before {start:%Y-%m-%d %H:%M} UTC; "
            f"this machine says {now:%Y-%m-%d %H:%M}"
        )
    return end


_THREAD: Final = "fedproof-http"
_ANY: Final = ("0.0.0.0", "::")
_MAX_HEADER_BYTES: Final = 16 * 1024


@dataclass
class CertificateEnd:
    """Unix time at which the certificate in use ends, ``None`` without TLS."""

    at_s: float | None = None


class HttpHandle(ServerHandle):
    """A running server; ``url`` says where, ``stop`` ends it."""

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
        """Use another certificate for connections from now on; those that are open stay.

        Raises
        ------
        ConfigError
            If it cannot be used; the old one stays in use.
        """
        if self._context is None:
            raise ConfigError(f"{self.url} is served without TLS: there is nothing to renew")
        end_s = certificate_end(certfile).timestamp()
        # A context that was given files that do not belong together can serve nobody any more.
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
    """Serve until the handle is stopped; signals are left to the caller.

    Parameters
    ----------
    port
        0 picks a free one; the handle's ``url`` names it.
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
