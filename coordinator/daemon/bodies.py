"""Bodies of requests, read within a limit and handed on; and answers of a line."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Return the body, ``None`` if it is longer than ``limit``, of which nothing is kept."""
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        return None
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that hands on a body that was read, then what comes after it."""
    told = False

    async def replaying() -> Message:
        nonlocal told, body
        if told:
            return await receive()
        told, whole = True, body
        body = b""  # the application's to keep from here on
        return {"type": "http.request", "body": whole, "more_body": False}

    return replaying


async def answer(send: Send, status: int, detail: str) -> None:
    """Answer with a line, and end the connection: a body may not have been read."""
    text = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
