"""TLS of a server port: version 1.2 or later; a failed handshake is logged with its reason.

Not handled: client certificates. Signatures of accounts decide who may read which blob.
"""

import logging
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from coordinator.protocol.errors import ConfigError

QUIET_S: Final = 10.0
"""Seconds within which the same reason is logged as a warning only once."""
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
    """Logs why a handshake failed; asyncio closes such connections silently (ADR 149)."""

    def do_handshake(self) -> None:
        """Do the handshake, and log the reason if it fails."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as failed:
            _log_refusal(str(failed.reason))
            raise


def _log_refusal(code: str) -> None:
    """Log a refusal, the same one rarely, so that repeated connections do not fill the disk."""
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
        not valid now; names the file.
    """
    certificate_end(certfile)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = LoggedHandshake
    load_certificate(context, certfile, keyfile)
    return context


def load_certificate(context: ssl.SSLContext, certfile: Path, keyfile: Path) -> None:
    """Use a certificate for new connections; raises as :func:`server_context`."""
    try:
        context.load_cert_chain(certfile, keyfile)
    except ssl.SSLError as error:
        raise ConfigError(
            f"certificate {certfile} and key {keyfile}: cannot be used together: {error.reason}"
        ) from error
    except OSError as error:
        raise ConfigError(f"key {keyfile}: {error.strerror or error}") from error


def certificate_end(certfile: Path) -> datetime:
    """Return the time at which a certificate expires.

    Raises
    ------
    ConfigError
        If the file is missing or malformed, or the certificate is not valid now.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
    except OSError as error:
        raise ConfigError(f"certificate {certfile}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"certificate {certfile}: not a PEM certificate") from error
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.now(UTC)
    if now >= end:
        raise ConfigError(f"certificate {certfile}: expired on {end:%Y-%m-%d %H:%M} UTC")
    if now < start:
        raise ConfigError(
            f"certificate {certfile}: not valid before {start:%Y-%m-%d %H:%M} UTC; "
            f"this machine says {now:%Y-%m-%d %H:%M}"
        )
    return end
