"""Counts bytes with TCP proxies on loopback, in a separate process.

They pass TLS on unchanged, so a node checks certificates and names as without them.
"""

import asyncio
import ctypes
import multiprocessing
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any, NamedTuple

HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


class Bytes(NamedTuple):
    """Bytes from participants to the coordinator (``up``) and back (``down``)."""

    up: int
    down: int

    def since(self, earlier: "Bytes") -> "Bytes":
        return Bytes(self.up - earlier.up, self.down - earlier.down)


class ByteCounter:
    """Proxies to some ports; a context manager.

    ``ports`` has the proxy's port for each name.
    """

    def __init__(self, targets: Mapping[str, int]) -> None:
        self._names = list(targets)
        sockets = [_listening() for _ in targets]
        self.ports = {
            name: int(listener.getsockname()[1])
            for name, listener in zip(targets, sockets, strict=True)
        }
        context = multiprocessing.get_context("fork")
        self._counts: SynchronizedArray[int] = context.Array("Q", 2 * len(sockets))
        self._process = context.Process(
            target=_carry_all, args=(sockets, list(targets.values()), self._counts), daemon=True
        )

    def read(self, name: str) -> Bytes:
        """Return the bytes so far."""
        at = 2 * self._names.index(name)
        return Bytes(self._counts[at], self._counts[at + 1])

    def __enter__(self) -> "ByteCounter":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join(10)


def _listening() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, 0))
    listener.listen(512)
    return listener


def _carry_all(sockets: Sequence[socket.socket], targets: Sequence[int], counts: Any) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    asyncio.run(_serve(sockets, targets, counts))


async def _serve(sockets: Sequence[socket.socket], targets: Sequence[int], counts: Any) -> None:
    loop = asyncio.get_running_loop()
    raw = counts.get_obj()  # no lock: one process writes, and reads of 8 aligned bytes are atomic

    for index, (listener, target) in enumerate(zip(sockets, targets, strict=True)):
        await loop.create_server(partial(_End, loop, raw, 2 * index, target), sock=listener)
    await asyncio.Event().wait()


class _End(asyncio.Protocol):
    """One end of a connection; ``target`` is set for the end that a client connected to."""

    def __init__(self, loop: Any, counts: Any, at: int, target: int = 0) -> None:
        self._loop, self._counts, self._at, self._target = loop, counts, at, target
        self._other: _End | None = None
        self._early: list[bytes] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._target:
            transport.pause_reading()
            self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        other = _End(self._loop, self._counts, self._at + 1)
        try:
            await self._loop.create_connection(lambda: other, HOST, self._target)
        except OSError:  # the target does not listen yet; the client sees the same without a proxy
            self.transport.abort()
            return
        self._other, other._other = other, self
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._counts[self._at] += len(data)
        if self._other is not None:
            self._other.transport.write(data)

    def eof_received(self) -> bool:
        if self._other is not None and self._other.transport.can_write_eof():
            self._other.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self._other is not None:
            self._other.transport.close()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()
