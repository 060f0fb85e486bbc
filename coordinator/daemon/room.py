"""Looks whether the disk that the service writes to has room, and says so before it has none."""

import os
from pathlib import Path
from typing import Final

from coordinator.core.errors import StoreError

LEAST_FREE_BYTES: Final = 32 << 20


def check_room(folder: Path, least_free_bytes: int = LEAST_FREE_BYTES) -> None:
    """Return if there is room.

    Raises
    ------
    StoreError
        If less than ``least_free_bytes`` are free, or the folder cannot be asked about.
    """
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from error
    free = found.f_bavail * found.f_frsize
    if free < least_free_bytes:
        raise StoreError(
            f"{folder}: {free >> 10} KiB of space left on its disk, expected at least "
            f"{least_free_bytes >> 10}; when it is full, rounds wait until there is room"
        )
