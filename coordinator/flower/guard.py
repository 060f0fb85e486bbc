"""What stands before Flower's SuperLink: who may call what, and how much it may send.

A SuperLink serves three interfaces on its one port. Nodes need the fleet's; the other two start
programs on the coordinator's host and must be out of everybody's reach. And it reads whatever it
is sent into memory before it looks who sent it. So, outermost:

* fleet: node authentication is checked first where nodes are registered, by the headers alone;
  then the body is read, up to a limit that follows from the model's size, and in a limited time;
* runtime (executor and ServerApp): from this host only; Flower checks their tokens;
* control (starting runs, registering nodes): from this host, with the service's secret;
* anything else: there is no such thing.

What a node pushes is its own reply to an instruction, one each (``allowance``), and bounded: a
number of objects, bytes in each. Flower checks who calls, not whose message it is that the call
carries: without this a node could give others instructions in the SuperLink's name, as many as it
likes.

A call that Flower fails at is to be tried again (503): its database is locked for too long when
many nodes push at once, and for status 500 a SuperNode gives up a reply for good. So few pushes
reach it at once. Not handled: TLS (uvicorn), and what a reply means (the round service).

A SuperLink keeps what is pushed until its run ends, and looks only whether a reply answers an
instruction that has none yet; each push that it does not keep leaves a row in its database. So the
guard counts: an instruction that is handed out allows one reply. The same reply may come again a
few times, as it does when an answer was lost on the way.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from coordinator.flower.internals import (
    ARRAY_CHUNK_BYTES,
    CONTROL_PATH,
    FLEET_PATH,
    NODE_KEY_HEADER,
    PULL_MESSAGES_PATH,
    PUSH_MESSAGES_PATH,
    PUSH_OBJECT_PATH,
    RUNTIME_PATH,
)
from coordinator.http.listener import RepeatFilter

QUIET_S: Final = 30.0
"""How long the same is not said again of the same peer."""
_log = logging.getLogger(__name__)


class RefusalLog:
    """Logs refusals, each reason of a peer once in a while.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._repeat_filter = RepeatFilter(monotonic, QUIET_S)

    def say(self, peer: str, key: bytes, path: str, reason: str) -> None:
        """Log that a call was refused.

        Parameters
        ----------
        peer
            The address it came from.
        key
            The node's public key as it was sent, empty if none was: its digest names the node.
        path, reason
            What was called, and why that was refused.
        """
        if not self._repeat_filter.is_news(peer, reason):
            return
        node = f"key {hashlib.sha256(key).hexdigest()[:16]}" if key else "no key"
        _log.warning("refused %s of %s (%s): %s", path.rsplit("/", 1)[-1], peer, node, reason)


AT_FIRST: Final = 8
"""Replies to instructions of the SuperLink's earlier life: nobody remembers how many those were."""
MOST: Final = 64
REPEATS: Final = 16
NODES: Final = 4_096


@dataclass(slots=True)
class _Node:
    left: int = AT_FIRST
    sent: OrderedDict[bytes, int] = field(default_factory=OrderedDict)


class Allowances:
    """Counts instructions and replies of nodes; remembers the last :data:`NODES` nodes."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()

    def give(self, node: bytes, instructions: int) -> None:
        """Allow a node as many replies more, up to :data:`MOST`."""
        found = self._node(node)
        found.left = min(MOST, found.left + instructions)

    def take(self, node: bytes, reply: bytes) -> bool:
        """Return whether a node may send a reply, known by its digest; then it has one less."""
        found = self._node(node)
        times = found.sent.get(reply)
        if times is not None:
            found.sent[reply] = times + 1
            return times < REPEATS
        if not found.left:
            return False
        found.left -= 1
        found.sent[reply] = 1
        if len(found.sent) > MOST:
            found.sent.popitem(last=False)
        return True

    def _node(self, node: bytes) -> _Node:
        found = self._nodes.setdefault(node, _Node())
        self._nodes.move_to_end(node)
        if len(self._nodes) > NODES:
            self._nodes.popitem(last=False)
        return found


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


CONTROL_HEADER: Final = "fedproof-control"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
_NODE_KEY: Final = NODE_KEY_HEADER.encode()


@dataclass(frozen=True, slots=True)
class GuardFile:
    """What the service tells the guard."""

    vector_bytes: int
    control_secret: str
    registered_only: bool

    def write(self, path: Path) -> None:
        """Write it for the SuperLink, private."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


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
    pushes_at_once
        Of all nodes, that Flower handles; more wait, with their bodies.
    """

    object_bytes: int
    objects: int
    call_bytes: int = 64 << 10
    calls_at_once: int = 8
    waiting: int = 64
    body_s: float = 120.0
    pushes_at_once: int = 8

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


@dataclass(frozen=True, slots=True)
class Push:
    """What a ``push-messages`` body holds.

    Attributes
    ----------
    objects
        How many it announces.
    digest
        Of the reply, the same whenever it is sent again.
    fault
        Why it is not one reply of the node that calls; empty if it is.
    """

    objects: int
    digest: bytes
    fault: str = ""


@dataclass(frozen=True, slots=True)
class FleetWire:
    """What the guard has to know of the bodies of calls.

    Attributes
    ----------
    push
        Reads a ``push-messages`` body; ``None`` for what is no such body, which Flower refuses.
    instructions
        Counts the instructions in an answer to ``pull-messages``.
    """

    push: Callable[[bytes], Push | None]
    instructions: Callable[[bytes], int]


class Guard:
    """An ASGI application around the SuperLink's.

    Parameters
    ----------
    control_secret
        What the service proves itself with.
    own_hosts
        Addresses of this host besides loopback, as a peer's address shows them.
    registered_key
        Returns from a request's headers (lower-case names), without its body, the key of the
        registered node it comes from, or nothing; ``None`` where any node may take part.
    wire
        Reads bodies.
    """

    def __init__(
        self,
        app: App,
        limits: GuardLimits,
        control_secret: str,
        own_hosts: frozenset[str],
        registered_key: Callable[[Mapping[bytes, bytes]], Awaitable[bytes | None]] | None,
        wire: FleetWire,
    ) -> None:
        self._app = app
        self._limits = limits
        self._secret = control_secret.encode()
        self._local = LOOPBACK | own_hosts
        self._registered_key = registered_key
        self._wire = wire
        self._allowances = Allowances()
        self._turns: dict[bytes, _Turns] = defaultdict(lambda: _Turns(limits.calls_at_once))
        self._pushes = asyncio.Semaphore(limits.pushes_at_once)
        self._refusal_log = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"].startswith(FLEET_PATH):
            await self._fleet(scope, receive, _to_be_tried_again(send))
        elif self._may_manage(scope):
            await self._app(scope, receive, _to_be_tried_again(send))
        else:
            await answer(send, 404, "there is nothing here")

    def _may_manage(self, scope: Scope) -> bool:
        peer = scope.get("client")
        if peer is None or peer[0] not in self._local:
            return False
        if scope["path"].startswith(CONTROL_PATH):
            given = dict(scope["headers"]).get(CONTROL_HEADER.encode(), b"")
            return hmac.compare_digest(given, self._secret)
        return bool(scope["path"].startswith(RUNTIME_PATH))

    async def _fleet(self, scope: Scope, receive: Receive, send: Send) -> None:
        who = await self._caller(scope)
        if who is None:
            await self._decline(scope, send, 401, "this node is not registered with the federation")
            return
        turns = self._turns[who]
        if turns.waiting >= self._limits.waiting:
            await self._decline(scope, send, 503, "too many calls of this node at once")
            return
        try:
            async with turns:
                await self._forward(who, scope, receive, send)
        finally:
            if turns.is_idle:
                self._turns.pop(who, None)

    async def _caller(self, scope: Scope) -> bytes | None:
        """Return whose call it is: a registered node's key, where there are such."""
        headers = dict(scope["headers"])
        if self._registered_key is not None:
            return await self._registered_key(headers)
        return headers.get(_NODE_KEY) or str((scope.get("client") or ("",))[0]).encode()

    async def _forward(self, who: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        limit = limits.object_bytes if scope["path"] == PUSH_OBJECT_PATH else limits.call_bytes
        try:
            body = await asyncio.wait_for(read_body(scope, receive, limit), limits.body_s)
        except TimeoutError:
            await self._decline(
                scope, send, 408, f"the body did not arrive within {limits.body_s:g} s"
            )
            return
        if body is None:
            await self._decline(scope, send, 413, f"more than {limit} bytes")
            return
        if scope["path"] == PUSH_MESSAGES_PATH and (no := self._objection(who, body)):
            await self._decline(scope, send, *no)
            return
        if scope["path"] == PULL_MESSAGES_PATH:
            send = self._counting(who, send)
        if scope["path"] not in (PUSH_OBJECT_PATH, PUSH_MESSAGES_PATH):
            await self._app(scope, replay(body, receive), send)
            return
        async with self._pushes:  # answers are short: nobody holds a place by not reading one
            await self._app(scope, replay(body, receive), send)

    def _objection(self, who: bytes, body: bytes) -> tuple[int, str] | None:
        """Return status and reason to decline a push."""
        push = self._wire.push(body)
        if push is None:
            return None
        if push.fault:
            return 403, push.fault
        if push.objects > self._limits.objects:
            return 413, f"a reply of {push.objects} objects, at most {self._limits.objects}"
        if not self._allowances.take(who, push.digest):
            return 429, "more replies than this node was given instructions"
        return None

    def _counting(self, who: bytes, send: Send) -> Send:
        """Return a ``send`` that counts the instructions it hands to a node."""
        parts: list[bytes] = []
        status = 0

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))
                if status == 200 and not message.get("more_body", False):
                    # before the node has them: its replies may come at once
                    self._allowances.give(who, self._wire.instructions(b"".join(parts)))
            await send(message)

        return counting

    async def _decline(self, scope: Scope, send: Send, status: int, reason: str) -> None:
        peer = str((scope.get("client") or ("nowhere",))[0])
        key = dict(scope["headers"]).get(_NODE_KEY, b"")
        self._refusal_log.say(peer, key, scope["path"], reason)
        await answer(send, status, reason)


def _to_be_tried_again(send: Send) -> Send:
    """Return a ``send`` that says 503 for 500."""

    async def patient(message: Message) -> None:
        failed = message["type"] == "http.response.start" and message["status"] == 500
        await send({**message, "status": 503} if failed else message)

    return patient


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
