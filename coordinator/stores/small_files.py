"""Small files of a run, read and appended to; whatever the disk refuses is a ``StoreError``."""

from pathlib import Path

from coordinator.protocol.errors import StoreError


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def append(path: Path, data: bytes) -> None:
    """Append to a file; killed or out of room, it may end with a part of ``data``.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error


def unreadable(path: Path, error: OSError) -> StoreError:
    """Return the error that says so, naming the file."""
    return StoreError(f"cannot read {path}: {error.strerror or error}")


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return the error that says so, naming the file."""
    return StoreError(f"cannot write {path}: {error.strerror or error}")
