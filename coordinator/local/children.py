"""Keeps child processes running: restarts them after growing pauses, and ends all of them.

A child runs in its own session, dies with this process (``launch``), writes to its own log file,
and is ended together with all processes it started. Not handled: whether a child does its work (its
owner checks), and processes left by an earlier daemon (``leftovers``).
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

from coordinator.local import launch
from coordinator.local.logs import fields
from coordinator.protocol.errors import StoreError

_TICK_S: Final = 0.1
_ROTATE_EVERY_S: Final = 10.0
_KILL_WAIT_S: Final = 5.0
_log = logging.getLogger(__name__)

ChildState = Literal["running", "pausing", "ended"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One program to keep running.

    Attributes
    ----------
    name
        Name in logs and status; unique.
    command, environment, folder
        As for ``subprocess.Popen``; the environment is complete.
    log
        File for the child's standard output and error. Beyond ``max_log_bytes`` it is copied to
        ``<log>.1`` and emptied.
    keep
        Whether to start it again when it ends; otherwise it runs once.
    first_pause_s, longest_pause_s
        Seconds before it is started again: doubled each time, and reset once it has run for
        ``steady_s`` seconds.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    keep: bool = True
    first_pause_s: float = 0.25
    longest_pause_s: float = 30.0
    steady_s: float = 20.0
    max_log_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child's state; ``returncode`` is its last process's, negative for a signal."""

    name: str
    state: ChildState
    pid: int | None
    starts: int
    returncode: int | None
    uptime_s: float


Listener = Callable[[ChildStatus], None]
"""Called when a child has started or ended, in the supervising thread: must be quick."""


@dataclass
class _Child:
    spec: ChildSpec
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0
    returncode: int | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    next_start: float = 0.0
    ended: bool = False
    log: IO[bytes] | None = field(default=None, repr=False)

    def status(self) -> ChildStatus:
        running = self.process is not None
        state: ChildState = "running" if running else "ended" if self.ended else "pausing"
        uptime = time.monotonic() - self.started_at if running else 0.0
        pid = self.process.pid if self.process is not None else None
        return ChildStatus(self.spec.name, state, pid, self.starts, self.returncode, uptime)


class Children:
    """Starts, watches and ends child processes, in its own thread.

    The kernel sends the parent-death signal when the *thread* that started a child ends, so all
    children are started by one thread that runs as long as they do. A context manager.
    """

    def __init__(self, listener: Listener = lambda _status: None) -> None:
        self._listener = listener
        self._lock = threading.RLock()
        self._children: dict[str, _Child] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._all_ended = threading.Event()
        self._rotate_at = time.monotonic() + _ROTATE_EVERY_S
        self._thread = threading.Thread(target=self._run, name="fedproof-children", daemon=True)
        self._thread.start()

    def add(self, spec: ChildSpec) -> None:
        """Keep a program running from now on.

        Raises
        ------
        StoreError
            If its log cannot be opened.
        """
        try:
            spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            spec.log.open("ab").close()
        except OSError as error:
            raise StoreError(f"log {spec.log}: {error.strerror or error}") from error
        with self._lock:
            if spec.name in self._children:
                raise ValueError(f"there is a child {spec.name!r} already")
            self._children[spec.name] = _Child(spec)
        self._wake.set()

    def remove(self, name: str, *, grace_s: float = 5.0) -> None:
        """End a child and all processes it started, and remove it, if there is one of that name.

        It is sent SIGTERM, and killed after ``grace_s`` seconds.
        """
        with self._lock:
            child = self._children.pop(name, None)
        if child is not None:
            self._end([child], grace_s)

    def restart(self, name: str) -> None:
        """Kill a child and all processes it started, and start it again without a pause."""
        with self._lock:
            child = self._children.get(name)
            if child is None:
                return
            child.pause_s = 0.0
            child.next_start = 0.0
            _kill_group(child, signal.SIGKILL)
        self._wake.set()

    def status(self) -> list[ChildStatus]:
        """Return the state of every child, in the order they were added."""
        with self._lock:
            return [child.status() for child in self._children.values()]

    def find(self, name: str) -> ChildStatus | None:
        """Return the state of one child, ``None`` if there is none of that name."""
        with self._lock:
            child = self._children.get(name)
            return None if child is None else child.status()

    def stop(self, *, grace_s: float = 5.0) -> None:
        """End all children, the last added first, all within the same ``grace_s`` seconds."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            left = list(reversed(self._children.values()))
            self._children.clear()
        try:
            self._end(left, grace_s)
        finally:
            self._all_ended.set()
            self._thread.join(_KILL_WAIT_S)

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            with self._lock:
                for child in list(self._children.values()):
                    self._look_at(child)
                self._rotate_logs()
        self._all_ended.wait()  # the kernel would kill the children if this thread ended earlier

    def _look_at(self, child: _Child) -> None:
        if child.process is not None and (code := child.process.poll()) is not None:
            self._ended(child, code)
        due = child.process is None and not child.ended and time.monotonic() >= child.next_start
        if due and not self._stopping.is_set():
            self._start(child)

    def _start(self, child: _Child) -> None:
        spec = child.spec
        command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *spec.command]
        try:
            with open(spec.log, "ab") as log:
                child.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(spec.environment),
                    cwd=spec.folder,
                    start_new_session=True,
                )
        except OSError as error:
            _log.error("cannot start a child", extra=fields(child=spec.name, error=str(error)))
            self._pause(child, lived_s=0.0)
            return
        child.starts += 1
        child.started_at = time.monotonic()
        self._notify(child)

    def _notify(self, child: _Child) -> None:
        try:
            self._listener(child.status())
        except Exception:  # a listener's error must not end the thread that all children depend on
            _log.exception("a listener failed", extra=fields(child=child.spec.name))

    def _ended(self, child: _Child, code: int) -> None:
        _kill_group(child, signal.SIGKILL)  # with all processes it started
        lived_s = time.monotonic() - child.started_at
        child.process, child.returncode = None, code
        if child.spec.keep:
            self._pause(child, lived_s)
        else:
            child.ended = True
        self._notify(child)

    def _pause(self, child: _Child, lived_s: float) -> None:
        spec = child.spec
        if lived_s >= spec.steady_s:
            child.pause_s = 0.0
        child.next_start = time.monotonic() + child.pause_s
        child.pause_s = min(max(2 * child.pause_s, spec.first_pause_s), spec.longest_pause_s)

    def _end(self, children: list[_Child], grace_s: float) -> None:
        for child in children:
            _kill_group(child, signal.SIGTERM)
        end = time.monotonic() + grace_s
        for child in children:
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, end - time.monotonic()))
        for child in children:
            _kill_group(child, signal.SIGKILL)
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.returncode = child.process.wait(_KILL_WAIT_S)
                child.process = None
            child.ended = True
            self._notify(child)

    def _rotate_logs(self) -> None:
        if time.monotonic() < self._rotate_at:
            return
        self._rotate_at = time.monotonic() + _ROTATE_EVERY_S
        for child in self._children.values():
            rotate(child.spec.log, child.spec.max_log_bytes)


def rotate(log: Path, max_bytes: int) -> None:
    """Copy a log to ``<log>.1`` if it is larger than ``max_bytes``, and empty it.

    Not renamed, since the child has it open for appending; a line written between copying and
    emptying is lost. If there is no space for a copy, the log is emptied all the same.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size <= max_bytes:
            return
        try:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
        except OSError as error:
            _log.warning("cannot keep a log", extra=fields(log=str(log), error=str(error)))
        os.truncate(log, 0)


def _kill_group(child: _Child, number: signal.Signals) -> None:
    """Signal a child's session; its number is not reused while any process is left in it."""
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, number)
