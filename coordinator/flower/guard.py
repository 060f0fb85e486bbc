"""A guard in front of Flower's SuperLink: limits who may call it, and how much they may send.

A SuperLink serves three interfaces on one port. Nodes need the fleet interface; the other two start
programs on the coordinator's host and must not be reachable from elsewhere. A SuperLink also reads
a whole request into memory before it checks the sender. So the guard is the outermost ASGI
application (ADR 92):

* fleet: if nodes are registered, their authentication is checked first, by the headers alone; then
  the body is read, up to a limit that follows from the model's size, within a limited time;
* runtime (executor and ServerApp): from this host only; Flower checks their tokens;
* control (starting runs, registering nodes): from this host, with the service's secret;
* anything else: not found.

A node may push only its own replies, one per instruction (:class:`Allowances`), each with a limited
number of objects and bytes. Flower checks who calls but not whose message the call carries: without
the guard a node could give others instructions in the SuperLink's name.

A SuperLink keeps what is pushed until its run ends, and each refused push leaves a row in its
database as well. So the guard counts: each instruction that a node receives allows one reply. The
same reply may be repeated a few times, as happens when an answer was lost.

A request that Flower fails at is answered with 503, so that it is tried again: Flower's database
locks up when many nodes push at once, and after status 500 a SuperNode drops its reply for good.
For the same reason few pushes reach Flower at once. Not handled: TLS (uvicorn), and the contents of
a reply (the round service).

The guard also notices who answers another instruction than the last one it was handed
(``instruction_order``, ADR 158).
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from coordinator.flower.instruction_order import HandedInstruction, InstructionOrder
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
"""Seconds within which the same refusal of the same peer is logged only once."""
_log = logging.getLogger(__name__)


class RefusalLog:
    """Logs refusals, each reason of a peer at most once in :data:`QUIET_S` seconds.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._repeat_filter = RepeatFilter(monotonic, QUIET_S)

    def refused(self, peer: str, key: bytes, path: str, reason: str) -> None:
        """Log that a call was refused.

        Parameters
        ----------
        peer
            The caller's address.
        key
            The node's public key as sent, empty if none was; the log names the node by its digest.
        path, reason
            The path that was called, and why it was refused.
        """
        if not self._repeat_filter.is_news(peer, reason):
            return
        node = f"key {hashlib.sha256(key).hexdigest()[:16]}" if key else "no key"
        _log.warning("refused %s of %s (%s): %s", path.rsplit("/", 1)[-1], peer, node, reason)


INITIAL_REPLIES: Final = 8
"""Replies a node may send at first, to instructions of an earlier SuperLink process."""
MAX_REPLIES: Final = 64
MAX_REPEATS: Final = 16
MAX_NODES: Final = 4_096


@dataclass(slots=True)
class _Allowance:
    left: int = INITIAL_REPLIES
    sent: OrderedDict[bytes, int] = field(default_factory=OrderedDict)


class Allowances:
    """Counts instructions and replies of nodes, of the last :data:`MAX_NODES` nodes that called."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[bytes, _Allowance] = OrderedDict()

    def give(self, node: bytes, instructions: int) -> None:
        """Allow a node one more reply per instruction, up to :data:`MAX_REPLIES`."""
        allowance = self._node(node)
        allowance.left = min(MAX_REPLIES, allowance.left + instructions)

    def take(self, node: bytes, reply: bytes) -> bool:
        """Count a reply, given by its digest, and return whether the node may send it."""
        # Counted, because every push leaves a row in Flower's database, kept or not (ADR 92).
        allowance = self._node(node)
        times = allowance.sent.get(reply)
        if times is not None:
            allowance.sent[reply] = times + 1
            return times < MAX_REPEATS
        if not allowance.left:
            return False
        allowance.left -= 1
        allowance.sent[reply] = 1
        if len(allowance.sent) > MAX_REPLIES:
            allowance.sent.popitem(last=False)
        return True

    def _node(self, node: bytes) -> _Allowance:
        allowance = self._nodes.setdefault(node, _Allowance())
        self._nodes.move_to_end(node)
        if len(self._nodes) > MAX_NODES:
            self._nodes.popitem(last=False)
        return allowance


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Return the body, ``None`` if it is longer than ``limit`` bytes; then nothing is kept."""
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
    """Return a ``receive`` that first gives a body that was already read, then what follows it."""
    is_sent = False

    async def replaying() -> Message:
        nonlocal is_sent, body
        if is_sent:
            return await receive()
        is_sent, whole = True, body
        body = b""  # so that only the application holds it from here on
        return {"type": "http.request", "body": whole, "more_body": False}

    return replaying


async def answer(send: Send, status: int, detail: str) -> None:
    """Answer with one line of text, and close the connection: its body may be unread."""
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
    """The guard's settings, which the service writes.

    Into ``order_file``, if there is one, the guard writes who is out of step.
    """

    vector_bytes: int
    control_secret: str
    registered_only: bool
    order_file: str = ""

    def write(self, path: Path) -> None:
        """Write the file for the SuperLink, readable by its owner only."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Limits on what nodes may send.

    Attributes
    ----------
    object_bytes
        Bytes in one object of a reply: a chunk of its one array, or a record of metrics.
    objects
        Objects in one reply.
    call_bytes
        Bytes in any other call.
    calls_at_once
        Concurrent calls of one node; more wait. Flower's nodes push up to eight objects at once.
    waiting
        Waiting calls of one node; more are answered with 503, to try again.
    body_s
        Seconds within which a body must arrive.
    pushes_at_once
        Concurrent pushes of all nodes together; more wait, with their bodies in memory.
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
        """Return limits that admit an update of ``vector_bytes`` bytes, and little more."""
        chunks = -(-vector_bytes // ARRAY_CHUNK_BYTES)
        objects = chunks + 16
        return cls(
            object_bytes=min(vector_bytes, ARRAY_CHUNK_BYTES) + (64 << 10),
            objects=objects,
            call_bytes=(64 << 10) + 128 * objects,
        )


@dataclass(frozen=True, slots=True)
class Push:
    """The parsed body of a ``push-messages`` call.

    Attributes
    ----------
    objects
        How many objects it announces.
    digest
        A digest of the reply, the same whenever it is sent again.
    fault
        Why it is not a reply of the calling node; empty if it is.
    answers
        Number of the instruction that it is a reply to.
    """

    objects: int
    digest: bytes
    fault: str = ""
    answers: str = ""


@dataclass(frozen=True, slots=True)
class FleetWire:
    """Parsers of the bodies that the guard must read.

    Attributes
    ----------
    push
        Parses a ``push-messages`` body; returns ``None`` if it is malformed: Flower refuses it.
    instructions
        Returns the instructions in an answer to ``pull-messages``.
    """

    push: Callable[[bytes], Push | None]
    instructions: Callable[[bytes], Sequence[HandedInstruction]]


class Guard:
    """An ASGI application around the SuperLink's.

    Parameters
    ----------
    control_secret
        Authenticates the service on the control interface.
    own_hosts
        Addresses of this host besides loopback, as they appear as a peer's address.
    registered_key
        Returns, from a request's headers (lower-case names) alone, the key of the registered node
        that sent it, ``None`` if it is not registered; or ``None`` if any node may take part.
    wire
        Parses bodies.
    order
        Compares replies with instructions.
    """

    def __init__(
        self,
        app: App,
        limits: GuardLimits,
        control_secret: str,
        own_hosts: frozenset[str],
        registered_key: Callable[[Mapping[bytes, bytes]], Awaitable[bytes | None]] | None,
        wire: FleetWire,
        order: InstructionOrder | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._secret = control_secret.encode()
        self._local = LOOPBACK | own_hosts
        self._registered_key = registered_key
        self._wire = wire
        self._allowances = Allowances()
        self._order = order or InstructionOrder()
        self._turns: dict[bytes, _Turns] = defaultdict(lambda: _Turns(limits.calls_at_once))
        self._pushes = asyncio.Semaphore(limits.pushes_at_once)
        self._refusal_log = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"].startswith(FLEET_PATH):
            await self._fleet(scope, receive, _with_retriable_failures(send))
        elif self._may_manage(scope):
            await self._app(scope, receive, _with_retriable_failures(send))
        else:
            await answer(send, 404, "there is nothing here")

    def _may_manage(self, scope: Scope) -> bool:
        # Flower authenticates nobody on its control interface, and whoever reaches it can run code
        # on this host (ADR 92).
        peer = scope.get("client")
        if peer is None or peer[0] not in self._local:
            return False
        if scope["path"].startswith(CONTROL_PATH):
            given = dict(scope["headers"]).get(CONTROL_HEADER.encode(), b"")
            return hmac.compare_digest(given, self._secret)
        return bool(scope["path"].startswith(RUNTIME_PATH))

    async def _fleet(self, scope: Scope, receive: Receive, send: Send) -> None:
        node = await self._caller(scope)
        if node is None:
            await self._decline(scope, send, 401, "this node is not registered with the federation")
            return
        turns = self._turns[node]
        if turns.waiting >= self._limits.waiting:
            await self._decline(scope, send, 503, "too many calls of this node at once")
            return
        try:
            async with turns:
                await self._forward(node, scope, receive, send)
        finally:
            if turns.is_idle:
                self._turns.pop(node, None)

    async def _caller(self, scope: Scope) -> bytes | None:
        """Return the calling node's identity, ``None`` if it is not registered but must be."""
        headers = dict(scope["headers"])
        if self._registered_key is not None:
            return await self._registered_key(headers)
        return headers.get(_NODE_KEY) or str((scope.get("client") or ("",))[0]).encode()

    async def _forward(self, node: bytes, scope: Scope, receive: Receive, send: Send) -> None:
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
        if scope["path"] == PUSH_MESSAGES_PATH and (objection := self._objection(node, body)):
            await self._decline(scope, send, *objection)
            return
        if scope["path"] == PULL_MESSAGES_PATH:
            send = self._counting(node, send)
        if scope["path"] not in (PUSH_OBJECT_PATH, PUSH_MESSAGES_PATH):
            await self._app(scope, replay(body, receive), send)
            return
        async with self._pushes:  # answers are short, so a slow reader does not block others
            await self._app(scope, replay(body, receive), send)

    def _objection(self, node: bytes, body: bytes) -> tuple[int, str] | None:
        """Return status and reason to refuse a push, ``None`` if it is allowed."""
        # Flower checks who calls, not whose message it carries: a node could instruct others
        # (ADR 92).
        push = self._wire.push(body)
        if push is None:
            return None
        if push.fault:
            return 403, push.fault
        if push.objects > self._limits.objects:
            return 413, f"a reply of {push.objects} objects, at most {self._limits.objects}"
        if not self._allowances.take(node, push.digest):
            return 429, "more replies than this node was given instructions"
        self._order.answered(node, push.answers)
        return None

    def _counting(self, node: bytes, send: Send) -> Send:
        """Return a ``send`` that notes the instructions it delivers to a node."""
        parts: list[bytes] = []
        status = 0

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))
                if status == 200 and not message.get("more_body", False):
                    # Before the node receives them, since its replies may come at once.
                    instructions = self._wire.instructions(b"".join(parts))
                    self._allowances.give(node, len(instructions))
                    self._order.handed(node, instructions)
            await send(message)

        return counting

    async def _decline(self, scope: Scope, send: Send, status: int, reason: str) -> None:
        peer = str((scope.get("client") or ("nowhere",))[0])
        key = dict(scope["headers"]).get(_NODE_KEY, b"")
        self._refusal_log.refused(peer, key, scope["path"], reason)
        await answer(send, status, reason)


def _with_retriable_failures(send: Send) -> Send:
    """Return a ``send`` that replaces status 500 by 503."""
    # A SuperNode drops its reply for good at 500, and tries again at 503 (ADR 92).

    async def send_retriable(message: Message) -> None:
        failed = message["type"] == "http.response.start" and message["status"] == 500
        await send({**message, "status": 503} if failed else message)

    return send_retriable


class _Turns:
    """A semaphore that counts the calls that wait for it."""

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
