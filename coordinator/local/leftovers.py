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

MARK: Final = "FEDPROOF_MARK"
_PROC: Final = Path("/proc")
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
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _carries(entry, mark):
            yield int(entry.name)


def _carries(entry: Path, mark: str) -> bool:
    wanted = f"{MARK}={mark}".encode()
    try:
        return wanted in (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or somebody else's
        return False


def _kill(pid: int, mark: str) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # looked at again while the handle holds the number: it cannot be another process now
        if not _carries(_PROC / str(pid), mark):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    return True
