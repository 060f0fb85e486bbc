"""HTTP to one server, bounded in time and memory, with readable error messages (ADR 0111).

Connects to the server itself, ignores the environment's proxies, and follows no redirect. With a
file of certificate authorities, only those are trusted. Not handled: streaming; an answer fits into
memory, and the caller limits its size.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from coordinator.protocol.errors import ConfigError

CONNECT_S: Final = 5.0
TIMEOUT_S: Final = 30.0
SLOWEST_BYTES_PER_S: Final = 50_000
ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_PIECE_BYTES: Final = 256 * 1024
_BUSY: Final = (429, 503)


class UnreachableError(OSError):
    """The server could not be reached, or the connection broke; the message gives the reason.

    ``is_lasting`` if a retry would fail too: the server is not the expected one.
    """

    def __init__(self, message: str, *, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class AnswerTooLongError(OSError):
    """The answer is longer than the caller's limit; it is not read to its end, nor retried."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class HttpClient:
    """A client of one server, with a pool of connections. Thread-safe.

    Parameters
    ----------
    url
        ``http://`` or ``https://``, host, port, and a common prefix of all paths.
    ca_file
        PEM certificates of the only authorities to trust; the system's own by default.
    timeout_s
        Longest wait for data. After that time, an answer must average at least 50 kB/s.
    attempts
        Number of attempts if a connection fails, with growing pauses.

    Raises
    ------
    ConfigError
        If the URL or the file of authorities cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.url = _checked(url).rstrip("/")
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=8,
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_S, timeout_s), read=timeout_s),
            ssl_context=_context(ca_file) if url.lower().startswith("https:") else None,
        )

    def get(
        self, path: str, *, limit_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a ``GET``; retried if the server is busy.

        Raises
        ------
        UnreachableError
            If every attempt failed to reach the server.
        AnswerTooLongError
            If the answer is longer than ``limit_bytes``.
        """
        return self._retry("GET", path, b"", dict(headers or {}), limit_bytes, self._attempts)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Return the answer to a ``POST``; raises as :meth:`get`.

        ``repeatable=False`` is for requests that are not idempotent: there is one attempt only.
        """
        attempts = self._attempts if repeatable else 1
        return self._retry("POST", path, body, dict(headers or {}), limit_bytes, attempts)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _retry(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        limit_bytes: int,
        attempts: int,
    ) -> Answer:
        url, pause_s = self.url + path, _FIRST_PAUSE_S
        for left in range(attempts - 1, -1, -1):
            try:
                answer = self._exchange(method, url, body, headers, limit_bytes)
            except UnreachableError as error:
                if error.is_lasting or not left:
                    raise
            else:
                if answer.status not in _BUSY or not left:
                    return answer
            time.sleep(pause_s)
            pause_s *= 3
        raise AssertionError("at least one attempt is made")

    def _exchange(
        self, method: str, url: str, body: bytes, headers: dict[str, str], limit_bytes: int
    ) -> Answer:
        sent = {"Accept-Encoding": "identity", "User-Agent": "fedproof", **headers}
        try:
            response = self._pool.request(
                method,
                url,
                body=body or None,
                headers=sent,
                preload_content=False,
                decode_content=False,
                redirect=False,
            )
            try:
                data = _read(response, limit_bytes, self._timeout_s)
            except BaseException:
                response.close()  # the connection is not reused, since its answer is not read
                raise
            response.release_conn()
        except (HTTPError, http.client.HTTPException, ssl.SSLError, OSError) as error:
            if isinstance(error, AnswerTooLongError):
                raise
            lasting = any(isinstance(cause, ssl.SSLError) for cause in _causes(error))
            raise UnreachableError(f"{url}: {explain(error)}", is_lasting=lasting) from error
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, named, data)


def _read(response: urllib3.BaseHTTPResponse, limit_bytes: int, grace_s: float) -> bytes:
    """Read a body; memory grows with the bytes received, not with Content-Length (ADR 0111).

    After ``grace_s`` seconds it must average at least 50 kB/s.
    """
    announced = response.headers.get("content-length", "0")
    url = str(response.geturl() or "")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise AnswerTooLongError(f"{url}: {announced} bytes, expected at most {limit_bytes}")
    begun, body = time.monotonic(), bytearray()
    while piece := response.read1(_PIECE_BYTES):
        body += piece
        if len(body) > limit_bytes:
            raise AnswerTooLongError(f"{url}: more than the {limit_bytes} bytes expected")
        if time.monotonic() > begun + grace_s + len(body) / SLOWEST_BYTES_PER_S:
            raise TimeoutError(f"only {len(body)} bytes received")
    return bytes(body)


def _checked(url: str) -> str:
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise ConfigError(f"{url!r}: not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigError(f"{url!r}: expected http://HOST:PORT or https://HOST:PORT")
    return url


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"{ca_file}: holds no PEM certificate") from error
    except OSError as error:
        raise ConfigError(f"{ca_file}: {error.strerror or error}") from error
    return context


# --- error messages -------------------------------------------------------------------------

_TLS_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "the port does not speak TLS; it may be plain http://",
    "RECORD_LAYER_FAILURE": "the port does not speak TLS; it may be plain http://",
    "UNSUPPORTED_PROTOCOL": "the server offers no TLS version from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server offers no TLS version from 1.2 on",
}


def explain(error: BaseException) -> str:
    """Return the reason of a failed exchange: the innermost exception with a known one."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message}"
            case ssl.SSLError() if cause.reason:
                return _TLS_REASONS.get(cause.reason, f"TLS failed: {cause.reason}")
            case ConnectionRefusedError():
                return "connection refused; nothing listens there"
            case socket.gaierror():
                return "no such host"
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return "closed the connection without an answer (a TLS port does so to http://)"
            case TimeoutError() | urllib3.exceptions.TimeoutError():
                return f"no answer in time ({cause})" if str(cause) else "no answer in time"
            case _:
                continue
    return f"{type(error).__name__}: {error}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the innermost first."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or current in chain:
            continue
        chain.append(current)
        inner = [
            current.__context__,
            current.__cause__,
            getattr(current, "reason", None),
            *current.args,
        ]
        waiting += [item for item in inner if isinstance(item, BaseException)]
    yield from reversed(chain)
