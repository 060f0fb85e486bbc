"""A proxy between a SuperNode and its SuperLink that can hold, cut off or repeat one call.

It terminates TLS with the federation's own certificate and makes each call again, so it knows the
call's name. A test chooses one call at a time: it is held, its answer is cut off, or it is made
twice, while the test does something else. All other calls pass unchanged.
"""

import http.client
import http.server
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Action = Literal["hold", "cut", "repeat"]
_DROPPED: Final = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass
class Spoiled:
    """One call that the proxy holds, cuts off or repeats.

    Attributes
    ----------
    call
        The last part of its path, as ``confirm-message-received``.
    action
        ``hold``: it waits before the SuperLink sees it. ``cut``: the SuperLink sees it, and the
        connection ends instead of an answer. ``repeat``: the SuperLink sees it, and after the
        release once more; the second answer counts.
    caught, released
        Set by the proxy when the call is there, and by the test when it may go on.
    """

    call: str
    action: Action
    caught: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


class CallProxy:
    """A context manager; ``port`` is where it listens.

    Parameters
    ----------
    target
        Host and port of the SuperLink.
    certificate, key, ca
        The federation's own.
    """

    def __init__(self, target: tuple[str, int], certificate: Path, key: Path, ca: Path) -> None:
        self._target = target
        self._trusted = ssl.create_default_context(cafile=ca)
        self._lock = threading.Lock()
        self._spoiled: Spoiled | None = None
        self.calls: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy._pass(self)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(certificate, key)
        self._server.tls = served
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "CallProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._spoiled is not None:
            self._spoiled.released.set()
        self._server.shutdown()
        self._server.server_close()

    def spoil(self, call: str, action: Action) -> Spoiled:
        """Spoil the next call of this name; for ``pull-messages``, the next that brings one."""
        with self._lock:
            self._spoiled = Spoiled(call, action)
            return self._spoiled

    def _take(self, call: str) -> Spoiled | None:
        with self._lock:
            spoiled = self._spoiled
            if spoiled is None or spoiled.call != call or spoiled.caught.is_set():
                return None
            if call != "pull-messages" or spoiled.action == "hold":
                spoiled.caught.set()
            return spoiled

    def _pass(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        call = request.path.rpartition("/")[2]
        self.calls.append(call)
        spoiled = self._take(call)
        try:
            if spoiled is not None and spoiled.action == "hold":
                spoiled.released.wait()
            answer = self._ask(request, body)
            if spoiled is not None and spoiled.action != "hold":
                answer = self._spoil_answer(spoiled, answer, lambda: self._ask(request, body))
        except OSError:
            answer = None
        except http.client.HTTPException:
            answer = None
        if answer is None:
            request.close_connection = True
            return
        status, headers, content = answer
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _spoil_answer(
        self, spoiled: Spoiled, answer: "_Answer", again: Callable[[], "_Answer"]
    ) -> "_Answer | None":
        if spoiled.call == "pull-messages":
            if not answer[2]:  # it brings no message
                return answer
            spoiled.caught.set()
        spoiled.released.wait()
        return None if spoiled.action == "cut" else again()

    def _ask(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> "_Answer":
        host, port = self._target
        link = http.client.HTTPSConnection(host, port, timeout=60, context=self._trusted)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
            link.request("POST", request.path, body, headers)
            response = link.getresponse()
            kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _DROPPED]
            return response.status, kept, response.read()
        finally:
            link.close()


_Answer = tuple[int, list[tuple[str, str]], bytes]


class _Server(http.server.ThreadingHTTPServer):
    """Takes TLS connections, the handshake in the connection's own thread."""

    daemon_threads = True
    tls: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.tls.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that is killed leaves broken connections."""
