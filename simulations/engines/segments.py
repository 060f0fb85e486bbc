"""Memory-backed files that pass arrays between the pool's processes.

One folder per pool under ``/dev/shm`` (or the temporary folder without it), removed on close. A
killed process cannot remove its folder, so each owner holds a lock on its folder, and the next pool
removes the folders whose lock is free.

Files and not ``multiprocessing.shared_memory``, where a full filesystem is a SIGBUS instead of an
error, and whose resource tracker removes segments that are in use (ADR 62).
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from coordinator.local.lock import exclusive_lock
from coordinator.protocol.errors import StoreError

PREFIX: Final = "fedproof-pool-"
_LOCK = "owner.lock"


def default_base() -> Path:
    """Return the parent folder for segments, memory-backed if the system has one."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def sweep(base: Path) -> list[Path]:
    """Remove segment folders whose owner has ended; return them."""
    removed = []
    for folder in sorted(base.glob(f"{PREFIX}*")):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _is_abandoned(folder: Path) -> bool:
    lock = exclusive_lock(folder / _LOCK)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True


class SegmentFolder:
    """Reads and writes the segments of one folder, which its owner created and workers share."""

    def __init__(self, path: Path, *, lock: FileLock | None = None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, tag: str, base: Path | None = None) -> "SegmentFolder":
        """Make and lock a folder named by ``tag``, after sweeping those left by dead owners.

        Raises
        ------
        StoreError
            If the folder cannot be made.
        """
        base = base or default_base()
        try:
            sweep(base)
            # Locked under another name first, so that no other pool removes it as unlocked.
            path = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
            lock = exclusive_lock(path / _LOCK)
            lock.acquire()
            final = base / f"{PREFIX}{tag}-{path.name[-8:]}"
            path.rename(final)
        except OSError as error:
            raise StoreError(f"segments: cannot make a folder in {base}: {error}") from error
        return cls(final, lock=lock)

    def write(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Write the parts one after another as segment ``name``.

        Raises
        ------
        StoreError
            If there is no space; nothing is left behind.
        """
        target = self._file(name)
        try:
            with open(target, "xb", buffering=0) as file:
                for part in parts:
                    view = memoryview(part).cast("B")
                    while view.nbytes:
                        view = view[file.write(view) :]
        except OSError as error:
            target.unlink(missing_ok=True)
            size = sum(memoryview(part).nbytes for part in parts)
            reason = "no room" if error.errno == errno.ENOSPC else str(error)
            raise StoreError(f"segments: {reason} for {size} bytes in {self.path}") from error

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes of a segment: a copy, so no later write can change it.

        Raises
        ------
        StoreError
            If the segment is missing or shorter than that.
        """
        try:
            with open(self._file(name), "rb", buffering=0) as file:
                length = os.fstat(file.fileno()).st_size
                size = length - offset if size is None else size
                if offset < 0 or size < 0 or offset + size > length:
                    raise StoreError(
                        f"segments: {name} holds {length} bytes, asked for {offset}+{size}"
                    )
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise StoreError(f"segments: cannot read {name} in {self.path}: {error}") from error

    def remove(self, name: str) -> None:
        """Remove a segment, if there is one of that name."""
        self._file(name).unlink(missing_ok=True)

    def remove_all(self, prefix: str) -> None:
        """Remove every segment whose name starts with ``prefix``."""
        for file in self.path.glob(f"{prefix}*"):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder (owner only)."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            self._lock.release()
            self._lock = None

    def _file(self, name: str) -> Path:
        if not name or not name.replace("-", "").isalnum() or not name.isascii():
            raise StoreError(f"segments: bad name {name!r}, expected letters, digits and '-'")
        return self.path / name
