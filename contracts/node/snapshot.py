"""A consistent copy of a chain file, even while a node writes to it.

The node's file and log are only read, and no lock is taken. While a node has the file open it
appends committed blocks to the log, and from time to time moves pages from the log into the file. A
page that is moved while the file is copied is still in the log, which is copied after it, unless
the node has restarted the log in the meantime: then the log's header has changed, and everything is
copied again.

Not handled: a file that is open in this process (refused, since closing a second handle on it would
drop the node's locks).
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contracts.node.kv import GUARD, FileInUse, named_errors, require_log, require_magic
from coordinator.protocol.errors import ChainUnavailableError, StoreError

_HEADER_BYTES: Final = 32
"""Size of the header of SQLite's log, in which two numbers change when the log is restarted."""
_ATTEMPTS: Final = 20

_State = tuple[bytes, bool, tuple[int, int]]


@contextmanager
def snapshot(path: Path) -> Iterator[Path]:
    """Yield a copy of the chain file at ``path``, a single file, which is deleted afterwards.

    Raises
    ------
    ChainUnavailableError
        If this process has the file open, it changes faster than it can be copied, or the copy
        cannot be written.
    StoreError
        If it is missing, or is not a chain file.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no chain file there")
    try:
        guarded = GUARD.reader(path)
    except FileInUse as held:
        raise ChainUnavailableError(f"{path}: {held}") from held
    with guarded, tempfile.TemporaryDirectory(prefix="fedproof-chain-") as folder:
        require_magic(path)
        copy = Path(folder) / path.name
        try:
            _copy(path, copy)
        except OSError as error:
            text = f"{path}: cannot be copied to {folder}: {error.strerror or error}"
            raise ChainUnavailableError(text) from error
        require_log(copy, shown=path)
        if _log(copy).exists() or _journal(copy).exists():
            with named_errors(path):
                _merge_log(copy)
        yield copy


def _copy(path: Path, copy: Path) -> None:
    for _ in range(_ATTEMPTS):
        before = _state(path)
        try:
            shutil.copyfile(path, copy)
            for companion in (_log, _journal):
                companion(copy).unlink(missing_ok=True)
                if companion(path).exists():
                    shutil.copyfile(companion(path), companion(copy))
        except FileNotFoundError:  # the node has ended and removed the log
            continue
        if before == _state(path):
            return
    raise ChainUnavailableError(f"{path}: changes faster than it can be copied; try again")


def _state(path: Path) -> _State:
    """Return a state that is unchanged if file and log were copied consistently."""
    try:
        with _log(path).open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    status = path.stat()
    written = (0, 0) if header else (status.st_mtime_ns, status.st_size)
    return header, _journal(path).exists(), written


def _log(path: Path) -> Path:
    return Path(f"{path}-wal")


def _journal(path: Path) -> Path:
    return Path(f"{path}-journal")


def _merge_log(copy: Path) -> None:
    """Merge the copied log into the copied file, so that one file is left."""
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    finally:
        connection.close()
