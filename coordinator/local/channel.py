"""Requests and answers over a Unix socket, between processes of one user on one machine.

A server maps call names to handlers and gives each connection a thread; a client makes one call at
a time and waits. The project's own errors arrive as the same class (``failures``).

Only the same user may connect: the socket is in a folder of mode 0700, and the kernel names the
user of the other process (``SO_PEERCRED``); another user's connection is closed without an answer.

Not handled: encryption, and authentication within one user, whose processes can read all of its
files anyway.
"""

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from coordinator.local.failures import error_from, error_header
from coordinator.local.files import Buffer
from coordinator.local.frames import (
    ChannelClosedError,
    ChannelError,
    FrameLimits,
    receive_frame,
    send_frame,
)
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.protocol.types import JsonObject

MAX_CONNECTIONS: Final = 64
_BACKLOG: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")
_STOP_S: Final = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection: ``number`` is unique in this server process, ``pid`` is the caller's."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Request:
    """One call as received; nothing in ``args`` has been checked."""

    call: str
    args: JsonObject
    attachments: Sequence[memoryview]
    peer: Peer


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a call. Attachments are sent without a copy."""

    args: JsonObject = field(default_factory=dict)
    attachments: Sequence[Buffer] = ()


Handler = Callable[[Request], Reply]
"""Runs in its connection's thread; several may run at once."""


class ChannelServer:
    """Answers calls on a Unix socket until it is stopped; a context manager.

    Parameters
    ----------
    path
        The socket's path, from :func:`coordinator.local.paths.socket_path`. The socket of a dead
        server is replaced, that of a running one is not.
    handlers
        By name of call. The project's errors raised by a handler go to the caller; any other is
        logged here and reported to the caller as a defect.
    limits
        Size limits of one request.
    on_disconnect
        Called for each connection that ends, in its thread, after its last call.

    Raises
    ------
    ConfigError
        If another server answers at the path, or the socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        limits: FrameLimits | None = None,
        on_disconnect: Callable[[Peer], None] = lambda _peer: None,
    ) -> None:
        self.path = path
        self._handlers = dict(handlers)
        self._limits = limits or FrameLimits()
        self._on_disconnect = on_disconnect
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._open: dict[int, tuple[socket.socket, threading.Thread]] = {}
        self._stopping = threading.Event()
        self._listener = _listen(path)
        self._thread = threading.Thread(
            target=self._accept, name=f"{path.stem}-accept", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, and wait a few seconds for handlers. May be called again."""
        self._stopping.set()
        # close() alone would not wake the thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_STOP_S)
        with self._lock:
            left = list(self._open.values())
        for connection, _thread in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _connection, thread in left:
            thread.join(_STOP_S)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "ChannelServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _address = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                _log.error("%s: cannot accept: %s", self.path, error)
                self._stopping.wait(0.1)  # no busy loop, most likely descriptors have run out
                continue
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        pid, uid = _credentials(connection)
        with self._lock:
            if uid != os.getuid() or len(self._open) >= MAX_CONNECTIONS or self._stopping.is_set():
                _log.warning(
                    "%s: closed a connection of user %d, process %d (%d are open)",
                    self.path,
                    uid,
                    pid,
                    len(self._open),
                )
                connection.close()
                return
            peer = Peer(next(self._numbers), pid)
            thread = threading.Thread(
                target=self._serve,
                args=(connection, peer),
                name=f"{self.path.stem}-{peer.number}",
                daemon=True,
            )
            self._open[peer.number] = (connection, thread)
        thread.start()

    def _serve(self, connection: socket.socket, peer: Peer) -> None:
        try:
            while (frame := receive_frame(connection, self._limits)) is not None:
                header, attachments = self._answer(frame.header, frame.attachments, peer)
                del frame  # frees a large update before its answer is sent
                send_frame(connection, header, attachments)
        except ChannelClosedError:
            pass
        except FedproofError as error:
            _log.warning("%s: process %d: %s", self.path, peer.pid, error)
        finally:
            connection.close()
            with self._lock:
                self._open.pop(peer.number, None)
            self._on_disconnect(peer)

    def _answer(
        self, header: JsonObject, attachments: Sequence[memoryview], peer: Peer
    ) -> tuple[JsonObject, Sequence[Buffer]]:
        call, args = header.get("call"), header.get("args")
        try:
            handler = self._handlers.get(call) if isinstance(call, str) else None
            if handler is None or not isinstance(args, dict):
                raise ChannelError(f"there is no call {str(call)[:60]!r} with such arguments")
            reply = handler(Request(str(call), args, attachments, peer))
        except FedproofError as error:
            return error_header(error), ()
        except Exception as error:
            _log.exception("%s: call %r failed", self.path, call)
            return error_header(
                FedproofError(f"{call}: a defect: {type(error).__name__}: {error}")
            ), ()
        return {"ok": reply.args}, reply.attachments


class ChannelClient:
    """One connection to a server, with one call at a time. A context manager.

    Parameters
    ----------
    path
        The server's socket.
    limits
        Size limits of one answer.
    connect_s
        Seconds to keep trying while the server does not listen yet.

    Raises
    ------
    ChannelClosedError
        If no server answered in that time.
    """

    def __init__(
        self, path: Path, limits: FrameLimits | None = None, *, connect_s: float = 10.0
    ) -> None:
        self.path = path
        self._limits = limits or FrameLimits()
        self._lock = threading.Lock()
        self._socket = connect(path, connect_s)

    def call(
        self,
        name: str,
        args: JsonObject | None = None,
        attachments: Sequence[Buffer] = (),
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """Make one call and return its answer, whose attachments are ``memoryview``.

        Parameters
        ----------
        timeout_s
            Seconds for each wait for bytes; ``None`` waits as long as the server runs.

        Raises
        ------
        ChannelClosedError
            If the server has ended; it is then unknown whether it carried the call out.
        ChannelError
            If there was no answer in time, or it is not a frame. The connection is closed.
        FedproofError
            The error that the call raised at the server.
        """
        with self._lock:
            if self._socket.fileno() < 0:
                raise ChannelClosedError(f"{self.path}: this connection is closed")
            self._socket.settimeout(timeout_s)
            try:
                send_frame(self._socket, {"call": name, "args": args or {}}, attachments)
                frame = receive_frame(self._socket, self._limits)
            except ChannelError:
                self._socket.close()
                raise
        if frame is None:
            self.close()
            raise ChannelClosedError(f"{self.path}: the server ended the connection")
        if "ok" not in frame.header:
            raise error_from(frame.header)
        result: Any = frame.header["ok"]
        if not isinstance(result, dict):
            raise ChannelError(f"{self.path}: {name}: the answer is no object")
        return Reply(result, frame.attachments)

    def close(self) -> None:
        """Close the connection. May be called again."""
        self._socket.close()

    def __enter__(self) -> "ChannelClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(path: Path, within_s: float) -> socket.socket:
    """Return a connection to a server, trying for at most ``within_s`` seconds.

    Raises
    ------
    ChannelClosedError
        If no server answers; names the path.
    """
    pause = threading.Event()
    wait_s, waited_s = 0.02, 0.0
    while True:
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            attempt.connect(os.fsencode(path))
        except OSError as error:
            attempt.close()
            if waited_s >= within_s:
                raise ChannelClosedError(
                    f"{path}: nobody answers there ({error.strerror}), tried for {within_s:g} s"
                ) from error
        else:
            return attempt
        pause.wait(wait_s)
        waited_s += wait_s
        wait_s = min(2 * wait_s, 0.5)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(os.fsencode(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{path}: cannot listen there: {error.strerror or error}") from error
    except ConfigError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fsencode(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"{path}: another process answers there; stop it first")


def _credentials(connection: socket.socket) -> tuple[int, int]:
    """Return process and user of the other side, from the kernel."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(credentials)
    return pid, uid
