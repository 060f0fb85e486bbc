"""Checks of an HTTP request's headers, and bounded reading of its body.

The attacker is a web page in a local browser, since any page can send requests to a local port. So
the Host header must be an allowed one (against DNS rebinding), and the content type must be JSON (a
browser sends that only after a CORS preflight, which is never allowed).
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
BODY_TIMEOUT_S: Final = 30.0


class HttpChecks:
    """Refuses requests for other hosts and of other content types.

    Parameters
    ----------
    allowed_hosts
        Host header values accepted in addition to loopback's, without port.
    """

    def __init__(self, allowed_hosts: Iterable[str] = ()) -> None:
        self._allowed = frozenset(name.lower() for name in (*LOOPBACK_HOSTS, *allowed_hosts))

    def check_host(self, request: Request) -> Response | None:
        """Return a refusal unless the Host header is an allowed one."""
        given = request.headers.get("host", "")
        name = given.lower()
        if not name.endswith("]"):
            name, _, port = name.rpartition(":") if ":" in name else (name, "", "")
            if port and not port.isdigit():
                return refusal(403, f"Host {given!r} is malformed")
        if name in self._allowed:
            return None
        return refusal(403, f"Host {given!r} is not allowed")

    def check_content_type(self, request: Request) -> Response | None:
        """Return a refusal unless the content type is JSON."""
        given = request.headers.get("content-type", "")
        if given.split(";")[0].strip().lower() == "application/json":
            return None
        return refusal(415, f"content type {given!r}, expected application/json")


async def read_body(
    request: Request, limit_bytes: int, *, timeout_s: float = BODY_TIMEOUT_S
) -> bytes | Response:
    """Return a body of at most ``limit_bytes``, or a refusal; memory is bounded by the limit."""
    announced = request.headers.get("content-length", "0")
    too_long = refusal(413, f"body is longer than {limit_bytes} bytes")
    if announced.isdigit() and int(announced) > limit_bytes:
        return too_long
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > limit_bytes:
                    return too_long
    except TimeoutError:
        return refusal(408, f"body did not arrive within {timeout_s:g} s")
    except ClientDisconnect:
        return Response(status_code=400)
    return bytes(body)


def refusal(status: int, reason: str, **headers: str) -> Response:
    """Return a refusal with its reason."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": reason}, status_code=status, headers=named)
