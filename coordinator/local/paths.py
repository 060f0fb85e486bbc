"""The path of a state folder's socket, in a folder that only its user can enter.

A Unix socket's path has at most 107 bytes. If a state folder's own path is too long for that, the
socket is in the user's runtime folder, under a name derived from the state folder.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coordinator.protocol.errors import ConfigError

SUN_PATH_BYTES: Final = 107
_FOLDER: Final = "run"


def socket_path(state: Path, name: str) -> Path:
    """Return the path of the socket ``name`` of a state folder, the same each time.

    Its folder is made with mode 0700, and must belong to this user.

    Raises
    ------
    ConfigError
        If the folder cannot be made, or is another user's; or if every path is too long.
    """
    absolute = state.absolute()
    digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]
    places = [absolute / _FOLDER / f"{name}.sock"]
    places += [folder / f"{digest}-{name}.sock" for folder in _runtime_folders()]
    for path in places:
        if len(os.fsencode(path)) <= SUN_PATH_BYTES:
            private_folder(path.parent)
            return path
    raise ConfigError(
        f"{state}: no folder for the socket {name!r}: a path of at most {SUN_PATH_BYTES} bytes is "
        "needed; choose a state folder with a shorter path, or set XDG_RUNTIME_DIR"
    )


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, and return it.

    An existing folder of this user is closed to others.

    Raises
    ------
    ConfigError
        If it cannot be made, is not a folder, or belongs to another user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{folder}: expected a folder")
        if status.st_uid != os.getuid():
            raise ConfigError(f"{folder}: belongs to user {status.st_uid}, expected {os.getuid()}")
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from error
    return folder


def _runtime_folders() -> Iterator[Path]:
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():
        yield Path(given) / "fedproof"
    yield Path(tempfile.gettempdir()) / f"fedproof-{os.getuid()}"
