"""One process at a time owns a state folder: the kernel drops the lock with the process."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from coordinator.protocol.errors import StoreError


class FolderLock:
    """An exclusive lock on a folder, held until :meth:`release`; a context manager.

    Parameters
    ----------
    folder
        Made, mode 0700, where it does not exist.

    Raises
    ------
    StoreError
        If another process holds it (its number is named), or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / ".lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file: IO[str] | None = open(path, "a+")  # noqa: SIM115 - held until release
        except OSError as error:
            raise StoreError(f"state folder {folder}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise StoreError(
                f"state folder {folder} is in use by process {owner}; stop it first"
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds, nobody's number is shown
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()

    def release(self) -> None:
        """Give the folder back. Harmless when repeated."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
