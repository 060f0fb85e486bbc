"""Files that are whole or not there, whenever the process is killed: write, sync, rename, sync."""

import os
from collections.abc import Iterable
from pathlib import Path

from coordinator.local.frames import Buffer
from coordinator.protocol.errors import StoreError

TEMPORARY = ".tmp-"


def write_durably(path: Path, pieces: Iterable[Buffer], *, mode: int = 0o600) -> None:
    """Write a file, replacing an earlier one; it is on the disk when this returns.

    Raises
    ------
    StoreError
        If it could not be made to last; the earlier one is still there then.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written.

    Raises
    ------
    StoreError
        If the folder cannot be used.
    """
    try:
        for leftover in folder.glob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from error
