"""One worker process of the pool: builds the ClientApp once, then answers tasks one by one.

All the inputs of a task's result come with the task (message, context, seed), so any worker can run
it. The process-wide generators of ``random``, NumPy and torch are seeded before every task for the
same reason: an unmodified ClientApp may use them (ADR 51, 62).
"""

import hashlib
import importlib
import os
import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# isort: split
import numpy as np
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from clients.mod.chain_view import chain_round_from_json
from coordinator.flower.internals import ErrorCode, records_from_bytes, records_to_bytes
from coordinator.protocol.errors import ChainUnavailableError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId, SigningDomain
from simulations.engines import frames
from simulations.engines.frames import Frame, FrameChannel, PackedContent
from simulations.engines.segments import SegmentFolder
from simulations.errors import ExtensionError

AppFactory = str | Callable[..., ClientApp]


@dataclass(frozen=True)
class WorkerSetup:
    """The data that a worker needs to start; passed to the child by ``multiprocessing``.

    Attributes
    ----------
    factory
        ``"module:attribute"`` or an importable callable. The attribute is a ClientApp, or is
        called to get one: with ``spec`` if there is one, without arguments otherwise.
    domain
        EIP-712 domain of the federation whose rounds :func:`parent_chain_view` reads.
    """

    index: int
    segments: Path
    factory: AppFactory
    spec: object = None
    domain: SigningDomain | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class ParentChainView:
    """A view of the chain through the process that owns the pool, over the worker's pipe."""

    def __init__(self, channel: FrameChannel, domain: SigningDomain) -> None:
        self.domain = domain
        self.waiting: deque[Frame] = deque()
        self._channel = channel

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as the contract stores it."""
        self._channel.send(Frame(frames.QUERY, (frames.json_part(round_id),)))
        while (frame := self._channel.receive()).kind != frames.ANSWER:
            self.waiting.append(frame)
        answer = frame.json()
        if "error" in answer:
            raise ChainUnavailableError(f"chain: round {round_id}: {answer['error']}")
        return chain_round_from_json(answer)


_chain_view: ParentChainView | None = None


def parent_chain_view() -> ParentChainView:
    """Return the view of the chain through the pool's owner, for use by app factories.

    Raises
    ------
    ChainUnavailableError
        Outside a worker, or if the pool was given no chain view.
    """
    if _chain_view is None:
        raise ChainUnavailableError("chain: this process belongs to no pool with a chain view")
    return _chain_view


def worker_main(pipe: Connection, setup: WorkerSetup) -> None:
    """Run one worker until its pipe is closed or a frame stops it."""
    global _chain_view
    _prepare_process(setup)
    segments = SegmentFolder(setup.segments)
    channel = FrameChannel(pipe, segments, f"w{setup.index}-{os.getpid()}")
    if setup.domain is not None:
        _chain_view = ParentChainView(channel, setup.domain)
    try:
        try:
            app = build_app(setup.factory, setup.spec)
        except Exception as error:  # any error of the user's code must reach the user
            channel.send(Frame(frames.FAILED, (_describe(error).encode(),)))
            return
        channel.send(Frame(frames.READY))
        try:
            _Worker(channel, segments, app, setup.index).run()
        except ExtensionError as error:
            channel.send(Frame(frames.FAILED, (str(error).encode(),)))
    except (EOFError, OSError):
        return  # the pool has ended, so nothing reads a reply


def build_app(factory: AppFactory, spec: object) -> ClientApp:
    """Return the ClientApp that ``factory`` names or returns.

    Raises
    ------
    TypeError
        If the result is not a ClientApp.
    """
    target: Any = factory
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        target = getattr(importlib.import_module(module), attribute)
    app = target
    if not isinstance(target, ClientApp):
        app = target() if spec is None else target(spec)
    if not isinstance(app, ClientApp):
        raise TypeError(f"{factory!r} gives {type(app).__name__}, expected a flwr ClientApp")
    return app


class _Worker:
    def __init__(
        self, channel: FrameChannel, segments: SegmentFolder, app: ClientApp, index: int
    ) -> None:
        self._channel = channel
        self._segments = segments
        self._app = app
        self._index = index
        self._replies = 0
        self._received: dict[str, dict[tuple[int, int], bytes]] = {}

    def run(self) -> None:
        while True:
            waiting = _chain_view.waiting if _chain_view is not None else None
            frame = waiting.popleft() if waiting else self._channel.receive()
            if frame.kind == frames.STOP:
                return
            self._channel.send(self._answer(frame))

    def _answer(self, frame: Frame) -> Frame:
        task: dict[str, Any] = frame.json(0)
        message = frames.unpack_message(frame.parts[2], self._read)
        context = Context(
            run_id=task["run_id"],
            node_id=task["node_id"],
            node_config=task["node_config"],
            state=records_from_bytes(frame.parts[1]),
            run_config=task["run_config"],
        )
        _seed_process(task["seed"])
        try:
            reply = self._app(message, context)
            state = records_to_bytes(context.state)
            packed = self._pack(reply)
        except ExtensionError:
            raise
        except Exception as error:  # as in Flower, an app that raises gives an error reply
            reason = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, _describe(error))
            state = frame.parts[1]
            packed = self._pack(Message(reason, reply_to=message))
        header = frames.json_part({"task": task["task"]})
        return Frame(frames.REPLY, (header, state, packed))

    def _pack(self, reply: Message) -> bytes:
        if not reply.has_content():
            return frames.pack_message(reply, None)
        self._replies += 1
        name = f"w{self._index}-{os.getpid()}-r{self._replies}"
        content = PackedContent(reply.content, name, self._segments)
        return frames.pack_message(reply, content.shadow)

    def _read(self, name: str, offset: int, size: int) -> bytes:
        """Return bytes of a broadcast: the same object for every client of this worker.

        A mod may cache verified models by the identity of these immutable bytes.
        """
        if name not in self._received:
            while len(self._received) > 1:
                self._received.pop(next(iter(self._received)))
            self._received[name] = {}
        known = self._received[name]
        if (offset, size) not in known:
            known[offset, size] = self._segments.read(name, offset, size)
        return known[offset, size]


def _prepare_process(setup: WorkerSetup) -> None:
    os.environ.update(setup.environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _seed_process(seed: str) -> None:
    digest = hashlib.sha256(seed.encode()).digest()
    random.seed(digest[:8])
    np.random.seed(int.from_bytes(digest[8:12], "big"))
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(int.from_bytes(digest[16:23], "big"))


def _describe(error: Exception) -> str:
    """Return an error on one line, short enough for a round's record."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]
