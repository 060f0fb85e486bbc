"""Finds and ends what an earlier life of a daemon left running.

Every child gets a mark in its environment, made from the daemon's state folder, and hands it on to
its own children. So nothing has to be written down that a crash could lose, and a process number
that was given to somebody else meanwhile is never mistaken for ours.
"""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "FEDPROOF_MARK"
_WAIT_S: Final = 5.0


def mark_of(state: Path, role: str) -> str:
    """Return the mark of the children of a daemon: its role, and a digest of its state folder."""
    digest = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:24]
    return f"{role}-{digest}"


def end_leftovers(mark: str) -> list[int]:
    """Kill every process of this user that carries ``mark``, but this one; return their numbers.

    Call it only while holding the state folder's lock: then none of them is anybody's child any
    more. Returns once they are gone, or after five seconds.
    """
    ended: list[int] = []
    end = time.monotonic() + _WAIT_S
    while (found := list(marked(mark))) and time.monotonic() < end:
        for pid in found:
            if _kill(pid, mark) and pid not in ended:
                ended.append(pid)
        time.sleep(0.05)
    return ended


def marked(mark: str) -> Iterator[int]:
    """Yield the processes of this user, but this one, that carry ``mark`` and are not zombies."""
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _carries(process, mark):
            yield process.pid


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except psutil.Error:  # gone, a zombie, or somebody else's
        return False


def _kill(pid: int, mark: str) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Looked at again while the handle holds the number: it cannot be another process now.
        # psutil's own kill() checks the number and then sends, which leaves a gap (ADR 0139).
        if not _carries(psutil.Process(pid), mark):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    finally:
        os.close(handle)
    return True
