"""Who may have a chain file open: one writer, or any number of readers.

Between processes SQLite's own lock decides. Two details need help. A reader that opens the file
as immutable does not look at the lock, so it looks here (:func:`probe_shared`). And POSIX locks
belong to a process: closing *any* handle on a file drops the locks that SQLite holds on it, so
inside one process a second user is refused before it opens anything (:class:`InProcessGuard`).
"""

import contextlib
import fcntl
import threading
from pathlib import Path
from typing import BinaryIO, Final

_SHARED_FIRST: Final = 0x40000002
"""First of SQLite's shared lock bytes (sqlite.org/fileformat2.html, "the lock-byte page")."""
_SHARED_SIZE: Final = 510


class FileInUse(Exception):
    """Somebody else has the file open; says who, as far as that is known."""


class InProcessGuard:
    """Counts this process's users of each chain file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[Path, int] = {}
        self._writers: set[Path] = set()

    def writer(self, path: Path) -> Path:
        """Claim ``path`` for writing; give the result to :meth:`release`."""
        key = path.resolve()
        with self._lock:
            if key in self._writers:
                raise FileInUse("already open in this process")
            if self._readers.get(key):
                raise FileInUse("being read in this process")
            self._writers.add(key)
        return key

    def release(self, key: Path) -> None:
        """Give up a writer's claim."""
        with self._lock:
            self._writers.discard(key)

    def reader(self, path: Path) -> "contextlib.ExitStack":
        """Claim ``path`` for reading until the result is closed."""
        key = path.resolve()
        with self._lock:
            if key in self._writers:
                raise FileInUse("open for writing in this process")
            self._readers[key] = self._readers.get(key, 0) + 1
        stack = contextlib.ExitStack()
        stack.callback(self._release_reader, key)
        return stack

    def _release_reader(self, key: Path) -> None:
        with self._lock:
            self._readers[key] -= 1


def probe_shared(path: Path) -> BinaryIO:
    """Take SQLite's shared lock for as long as the returned file stays open.

    Raises
    ------
    FileInUse
        If a node of another process holds the file.
    OSError
        If the file cannot be opened.
    """
    file = path.open("rb")
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except OSError as held:
        file.close()
        raise FileInUse("open in another process") from held
    return file
