"""Writes files that are complete or absent, even if the process is killed.

All durable writes of the project use these functions. :func:`replace_file`, :func:`create_file` and
:func:`open_lines` raise ``OSError`` for callers with their own errors; the others raise
``StoreError`` and name the file. Not handled: locking a folder (``lock``).
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from coordinator.protocol.errors import StoreError

Buffer = bytes | bytearray | memoryview

TEMPORARY: Final = ".tmp-"
"""Prefix of the name of an unfinished file; those that a killed process left are removed."""
PRIVATE: Final = 0o600


def replace_file(
    path: Path, pieces: Iterable[Buffer], *, mode: int | None = None, sync: bool = True
) -> None:
    """Write a file beside ``path``, then rename it: a reader sees the old bytes or the new ones.

    Parameters
    ----------
    mode
        The file's permissions, exactly; ``None`` for the default by the process's umask.
    sync
        Whether to return only when file and name are on disk. Without it a killed process loses
        nothing, but a power failure may.

    Raises
    ------
    OSError
        If the folder is missing or the disk fails; the old file still exists then.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        _write(temporary, os.O_TRUNC, pieces, mode, sync)
        temporary.rename(path)
        if sync:
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def create_file(path: Path, pieces: Iterable[Buffer], *, mode: int) -> None:
    """Write a new file with exactly this mode, durably.

    Raises
    ------
    FileExistsError
        If the file exists; it is not changed.
    OSError
        If the folder is missing or the disk fails; nothing is left behind.
    """
    try:
        _write(path, os.O_EXCL, pieces, mode, sync=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _write(path: Path, flag: int, pieces: Iterable[Buffer], mode: int | None, sync: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)  # the umask removes bits from the mode given to open()
        file.writelines(pieces)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def write_durably(path: Path, pieces: Iterable[Buffer], *, mode: int | None = PRIVATE) -> None:
    """Write a file durably, replacing an earlier one.

    Its folder is made if missing, with mode 0700 for a file that only its owner may read.

    Raises
    ------
    StoreError
        If the file cannot be written; the earlier file still exists then.
    """
    folder_mode = 0o700 if mode == PRIVATE else 0o777
    try:
        path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        replace_file(path, pieces, mode=mode)
    except OSError as error:
        raise unwritable(path, error) from error


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    StoreError
        If it cannot be read, or is not a regular file.
    """
    try:
        if not is_regular(path):
            raise StoreError(f"cannot read {path}: not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def is_regular(path: Path) -> bool:
    """Return whether a path is a regular file; reading another kind may block for ever.

    Raises
    ------
    OSError
        If there is no such file, or its status cannot be read.
    """
    return stat.S_ISREG(path.stat().st_mode)


def append(path: Path, data: bytes) -> None:
    """Append to a file without waiting for the disk.

    If the process is killed or the disk is full, the file may end with a part of ``data``.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error


class LineFile:
    """A file of lines, open and locked, from :func:`open_lines`.

    Attributes
    ----------
    lines
        The complete lines at opening, as bytes. A last line without a line break was interrupted
        by a crash and is ignored.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        content = file.read()
        self.lines: Final = content[: content.rfind(b"\n") + 1]

    def append(self, line: bytes) -> None:
        """Write a line, which ends with a line break, after :attr:`lines`, durably; once only.

        Raises ``OSError`` if the disk fails.
        """
        self._file.seek(len(self.lines))
        self._file.truncate()
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def open_lines(path: Path) -> Iterator[LineFile]:
    """Open a file of lines for one process at a time; a missing file is made with mode 0600.

    Waits while another process has it open. The lock is on the file itself, so there is no second
    file that could be lost or copied without it (ADR 139).

    Raises
    ------
    OSError
        If the file cannot be made or opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield LineFile(file)
    if is_new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; raises ``OSError`` if the disk fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_leftovers(folder: Path) -> None:
    """Remove the unfinished files of a killed process.

    Raises
    ------
    StoreError
        If the folder cannot be read, or a file cannot be removed.
    """
    try:
        for leftover in folder.glob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from error


def unreadable(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be read, with the reason."""
    return StoreError(f"cannot read {path}: {error.strerror or error}")


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be written, with the reason."""
    return StoreError(f"cannot write {path}: {error.strerror or error}")
