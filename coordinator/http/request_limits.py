"""The outermost middleware: checks a request's host, and limits the requests of each client."""

from collections import Counter
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.node.http_checks import HttpChecks, refusal
from coordinator.http.limits import HttpLimits
from coordinator.http.metrics import Telemetry

ROUTES: Final = frozenset(
    {"rpc", "blobs", "federation", "status", "evaluations", "healthz", "readyz", "metrics"}
)


class RequestLimiter:
    """ASGI middleware: checks Host, limits one client's concurrent requests, counts answers.

    A client is identified by the connection's address, never by a header.
    """

    def __init__(
        self, app: ASGIApp, http_checks: HttpChecks, limits: HttpLimits, telemetry: Telemetry
    ) -> None:
        self._app = app
        self._http_checks = http_checks
        self._limits = limits
        self._telemetry = telemetry
        self._busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = _Counted(send)
        client = scope["client"][0] if scope.get("client") else "unknown"
        self._busy[client] += 1
        try:
            await self._choose(scope, client)(scope, receive, answer)
        finally:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]
            self._telemetry.count_request(_route(scope), answer.status, answer.sent_bytes)

    def _choose(self, scope: Scope, client: str) -> ASGIApp:
        if self._busy[client] > self._limits.requests_per_client:
            reason = f"more than {self._limits.requests_per_client} requests at a time"
            return refusal(429, reason, retry_after="1")
        return self._http_checks.check_host(Request(scope)) or self._app


class _Counted:
    """Passes an answer on and counts it; ``status`` is 0 until the answer starts."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.sent_bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.sent_bytes += len(message.get("body", b""))
        await self._send(message)


def _route(scope: Scope) -> str:
    first = str(scope["path"]).split("/", 2)[1:2]
    return first[0] if first and first[0] in ROUTES else "other"
