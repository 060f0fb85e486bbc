"""What stands before Flower's SuperLink: who may call what, and how much it may send.

A SuperLink serves three interfaces on its one port. Nodes need the fleet's; the other two start
programs on the coordinator's host and must be out of everybody's reach. And it reads whatever it
is sent into memory before it looks who sent it. So, outermost:

* fleet: node authentication is checked first where nodes are registered, by the headers alone;
  then the body is read, up to a limit that follows from the model's size, and in a limited time;
* runtime (executor and ServerApp): from this host only; Flower checks their tokens;
* control (starting runs, registering nodes): from this host, with the service's secret;
* anything else: there is no such thing.

A node's reply is bounded in all: one reply an instruction (Flower's own rule), a number of objects
in it, bytes in each. Not handled: TLS (uvicorn), and what a reply means (the round service).
"""

import asyncio
import hmac
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from coordinator.daemon.complaints import Complaints

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTROL_HEADER: Final = "fedproof-control"
NODE_KEY_HEADER: Final = b"flwr-public-key"
_FLEET: Final = "/v1/fleet/"
_RUNTIME: Final = "/v1/runtime/"
_CONTROL: Final = "/v1/control/"
_PUSH_OBJECT: Final = "/v1/fleet/push-object"
_PUSH_MESSAGES: Final = "/v1/fleet/push-messages"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
ARRAY_CHUNK_BYTES: Final = 5 << 20
"""What Flower cuts arrays into (``FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE``)."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What one node may send.

    Attributes
    ----------
    object_bytes
        In one object of a reply: a chunk of its one array, or a record of metrics.
    objects
        In one reply.
    call_bytes
        In any other call.
    calls_at_once
        Of one node; more wait. Flower's nodes push up to eight objects at once.
    waiting
        Calls of one node that may wait; more are sent away to try again.
    body_s
        Seconds in which a body must have arrived.
    """

    object_bytes: int
    objects: int
    call_bytes: int = 64 << 10
    calls_at_once: int = 8
    waiting: int = 64
    body_s: float = 120.0

    @classmethod
    def of_model(cls, vector_bytes: int) -> "GuardLimits":
        """Return limits that let through an update of so many bytes, and little more."""
        chunks = -(-vector_bytes // ARRAY_CHUNK_BYTES)
        objects = chunks + 16
        return cls(
            object_bytes=min(vector_bytes, ARRAY_CHUNK_BYTES) + (64 << 10),
            objects=objects,
            call_bytes=(64 << 10) + 128 * objects,
        )


class Guard:
    """An ASGI application around the SuperLink's.

    Parameters
    ----------
    control_secret
        What the service proves itself with.
    own_hosts
        Addresses of this host besides loopback, as a peer's address shows them.
    is_known_node
        Says from a request's headers (lower-case names) whether it comes from a registered node,
        without its body; ``None`` where any node may take part.
    count_objects
        Returns how many objects a ``push-messages`` body announces.
    """

    def __init__(
        self,
        app: App,
        limits: GuardLimits,
        control_secret: str,
        own_hosts: frozenset[str],
        is_known_node: Callable[[Mapping[bytes, bytes]], Awaitable[bool]] | None,
        count_objects: Callable[[bytes], int],
    ) -> None:
        self._app = app
        self._limits = limits
        self._secret = control_secret.encode()
        self._local = LOOPBACK | own_hosts
        self._is_known_node = is_known_node
        self._count_objects = count_objects
        self._turns: dict[bytes, _Turns] = defaultdict(lambda: _Turns(limits.calls_at_once))
        self._complaints = Complaints()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"].startswith(_FLEET):
            await self._fleet(scope, receive, send)
        elif self._may_manage(scope):
            await self._app(scope, receive, send)
        else:
            await _refuse(send, 404, "there is nothing here")

    def _may_manage(self, scope: Scope) -> bool:
        peer = scope.get("client")
        if peer is None or peer[0] not in self._local:
            return False
        if scope["path"].startswith(_CONTROL):
            given = dict(scope["headers"]).get(CONTROL_HEADER.encode(), b"")
            return hmac.compare_digest(given, self._secret)
        return bool(scope["path"].startswith(_RUNTIME))

    async def _fleet(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._is_known_node is not None and not await self._is_known_node(headers):
            await self._decline(scope, send, 401, "this node is not registered with the federation")
            return
        who = headers.get(NODE_KEY_HEADER) or str((scope.get("client") or ("",))[0]).encode()
        turns = self._turns[who]
        if turns.waiting >= self._limits.waiting:
            await self._decline(scope, send, 503, "too many calls of this node at once")
            return
        try:
            async with turns:
                await self._forward(scope, receive, send)
        finally:
            if turns.is_idle:
                self._turns.pop(who, None)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        limit = limits.object_bytes if scope["path"] == _PUSH_OBJECT else limits.call_bytes
        try:
            body = await asyncio.wait_for(_read(scope, receive, limit), limits.body_s)
        except TimeoutError:
            await self._decline(
                scope, send, 408, f"the body did not arrive within {limits.body_s:g} s"
            )
            return
        if body is None:
            await self._decline(scope, send, 413, f"more than {limit} bytes")
            return
        if scope["path"] == _PUSH_MESSAGES:
            found = self._count_objects(body)
            if found > limits.objects:
                most = limits.objects
                await self._decline(scope, send, 413, f"a reply of {found} objects, at most {most}")
                return
        await self._app(scope, _replay(body, receive), send)

    async def _decline(self, scope: Scope, send: Send, status: int, reason: str) -> None:
        peer = str((scope.get("client") or ("nowhere",))[0])
        key = dict(scope["headers"]).get(NODE_KEY_HEADER, b"")
        self._complaints.say(peer, key, scope["path"], reason)
        await _refuse(send, status, reason)


class _Turns:
    """Lets so many in at once, and counts who waits."""

    def __init__(self, at_once: int) -> None:
        self._semaphore = asyncio.Semaphore(at_once)
        self._inside = 0
        self.waiting = 0

    @property
    def is_idle(self) -> bool:
        return not self._inside and not self.waiting

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self.waiting -= 1
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        self._semaphore.release()


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
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


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told, body
        if told:
            return await receive()
        told, whole = True, body
        body = b""  # the application's to keep from here on
        return {"type": "http.request", "body": whole, "more_body": False}

    return replay


async def _refuse(send: Send, status: int, detail: str) -> None:
    text = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
