"""Finds and ends processes that an earlier daemon process left running.

Every child has a mark in its environment, made from the daemon's state folder, which its own
children inherit. So nothing has to be stored that a crash could lose, and a reused process number
is never mistaken for one of ours (ADR 90).
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
    """Kill every other process of this user that has ``mark``; return their numbers.

    Call it only while holding the state folder's lock: then no running daemon owns one of them.
    Returns once they have ended, or after five seconds.
    """
    ended: list[int] = []
    end = time.monotonic() + _WAIT_S
    while (pids := list(marked(mark))) and time.monotonic() < end:
        for pid in pids:
            if _kill(pid, mark) and pid not in ended:
                ended.append(pid)
        time.sleep(0.05)
    return ended


def marked(mark: str) -> Iterator[int]:
    """Yield the other processes of this user that have ``mark`` and are not zombies."""
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _carries(process, mark):
            yield process.pid


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except psutil.Error:  # ended, a zombie, or another user's
        return False


def _kill(pid: int, mark: str) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Checked again while the descriptor is open, so that the number cannot be reused. psutil's
        # own kill() checks the number before it sends, which leaves a gap (ADR 139).
        if not _carries(psutil.Process(pid), mark):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    finally:
        os.close(handle)
    return True
