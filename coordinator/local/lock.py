"""Locks that one process holds at a time; the kernel drops them when the process ends."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from coordinator.local.files import is_regular
from coordinator.protocol.errors import StoreError


def exclusive_lock(
    path: Path, on_acquired: Callable[[int], None] = lambda _descriptor: None
) -> FileLock:
    """Return a lock on a file, not taken yet; the file is kept when the lock is released.

    ``acquire`` does not wait: it raises ``filelock.Timeout`` if another process has the lock, and
    another ``OSError`` if the file cannot be made or its file system has no locks. Any thread may
    release it.

    Parameters
    ----------
    on_acquired
        Called with the file's descriptor each time the lock was taken.
    """
    # No fallback to the library's soft lock, which outlives a killed process.
    return FileLock(
        path, timeout=0, thread_local=False, fallback_to_soft=False, on_acquired=on_acquired
    )


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on a file; nothing is made or written.

    Raises
    ------
    OSError
        If the file exists and cannot be opened.
    """
    if not path.exists() or not is_regular(path):
        return False
    with path.open("rb") as file:
        try:
            # The library opens the file for writing, which an auditor may not; it locks by flock.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class FolderLock:
    """An exclusive lock on a state folder, held until :meth:`release`; a context manager.

    Parameters
    ----------
    folder
        Made with mode 0700 if it does not exist.

    Raises
    ------
    StoreError
        If another process holds it (named by its number), or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / ".lock"
        self._lock = exclusive_lock(path, _write_owner)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"state folder {folder} is in use by process {_owner(path)}; stop it first"
            ) from error
        except OSError as error:
            raise StoreError(f"state folder {folder}: {error.strerror or error}") from error

    def release(self) -> None:
        """Release the folder. May be called again."""
        self._lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _write_owner(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock holds, without a process number
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(20).decode("ascii", "replace").strip() or "unknown"
    return "unknown"
