"""The chain's key-value store: one SQLite file, one commit per block.

:class:`SqliteDB` is what py-evm writes through. Every write happens inside
:meth:`~contracts.node.batching.BatchingDB.atomic_batch`; batches nest, and only the outermost
one touches the file, in one transaction with ``synchronous=FULL``.

:func:`open_read_only` reads a file without changing a byte of it or of its folder.

Not handled here: what the keys mean (``replica``), and several writers (refused).
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from contracts.node.batching import DELETED, BatchingDB, MemoryDB
from contracts.node.locks import FileInUse, InProcessGuard, probe_shared
from contracts.node.sqlite_file import (
    connect_for_writing,
    named_errors,
    require_magic,
    require_schema,
    transaction,
)
from coordinator.protocol.errors import ChainUnavailableError, FedproofError, StoreError

__all__ = ["MemoryDB", "ReadOnlyDB", "SqliteDB", "open_read_only"]

_LEFTOVERS: Final = ("-wal", "-journal")
_GUARD = InProcessGuard()


class SqliteDB(BatchingDB):
    """The store in one SQLite file (WAL, ``synchronous=FULL``), held by one process at a time.

    Parameters
    ----------
    path
        File to create or open; its folder is created.

    Raises
    ------
    ChainUnavailableError
        If another process, or this one, has the file open.
    StoreError
        If it cannot be read or written, or is not a Fedproof chain.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._key: Path | None = _guard_writer(path)
        try:
            self._connection = connect_for_writing(path)
        except FedproofError:
            self._release()
            raise

    def _read(self, key: bytes) -> bytes | None:
        with named_errors(self.path):
            row = self._connection.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _write(self, writes: dict[bytes, bytes | None]) -> None:
        kept = [(key, value) for key, value in writes.items() if value is not DELETED]
        dropped = [(key,) for key, value in writes.items() if value is DELETED]
        with named_errors(self.path), transaction(self._connection) as connection:
            connection.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", kept)
            connection.executemany("DELETE FROM kv WHERE key = ?", dropped)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in order of key."""
        with named_errors(self.path):
            yield from self._connection.execute("SELECT key, value FROM kv ORDER BY key")

    def checkpoint_and_close(self) -> None:
        """Move the log into the file and close: one plain file is left. Harmless when repeated."""
        if self._key is None:
            return
        try:
            with named_errors(self.path):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        finally:
            self._connection.close()
            self._release()

    def _release(self) -> None:
        if self._key is not None:
            _GUARD.release(self._key)
            self._key = None


class ReadOnlyDB(BatchingDB):
    """A chain file opened by :func:`open_read_only`; a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection, resources: ExitStack) -> None:
        super().__init__()
        self.path = path
        self._connection = connection
        self._resources = resources

    def _read(self, key: bytes) -> bytes | None:
        with named_errors(self.path):
            row = self._connection.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in order of key."""
        with named_errors(self.path):
            yield from self._connection.execute("SELECT key, value FROM kv ORDER BY key")

    def integrity_faults(self) -> list[str]:
        """Return what SQLite's own check of the file's structure finds; empty when sound."""
        with named_errors(self.path):
            found = self._connection.execute("PRAGMA integrity_check").fetchall()
        return [str(row[0]) for row in found if row[0] != "ok"]

    def checkpoint_and_close(self) -> None:
        """Release the file, and the temporary copy where there was one."""
        self._resources.close()

    def __enter__(self) -> "ReadOnlyDB":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.checkpoint_and_close()


class _TemporaryCopy:
    """A copy of the file and of the log beside it, for a chain that was not closed cleanly."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fedproof-chain-"))
        self.path = self.folder / path.name
        with named_errors(path):
            with self.path.open("wb") as copy:
                # Through the handle that holds the lock: closing another would drop it.
                shutil.copyfileobj(file, copy)
            for name in (f"{path.name}{suffix}" for suffix in _LEFTOVERS):
                if (path.parent / name).exists():
                    shutil.copyfile(path.parent / name, self.folder / name)

    def close(self) -> None:
        shutil.rmtree(self.folder)


def open_read_only(path: Path) -> ReadOnlyDB:
    """Open a chain file for reading; neither it nor its folder changes by a byte.

    A chain that was killed has its newest blocks in a log beside the file: then both are
    copied to a temporary folder and the copy is read.

    Raises
    ------
    ChainUnavailableError
        If a node has the file open.
    StoreError
        If it is missing, unreadable, or not a Fedproof chain.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no chain file there")
    with ExitStack() as resources:
        file = _claim_for_reading(path, resources)
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        if any(_is_filled(Path(f"{path}{suffix}")) for suffix in _LEFTOVERS):
            copy = _TemporaryCopy(path, file)
            resources.callback(copy.close)
            uri = f"{copy.path.as_uri()}?mode=rw"
        with named_errors(path):
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False
            )
            resources.callback(connection.close)
            require_schema(path, connection)
        return ReadOnlyDB(path, connection, resources.pop_all())


def _claim_for_reading(path: Path, resources: ExitStack) -> BinaryIO:
    try:
        resources.enter_context(_GUARD.reader(path))
        require_magic(path)
        return resources.enter_context(probe_shared(path))
    except FileInUse as held:
        raise ChainUnavailableError(f"{path}: {held}; ask its RPC, or stop it first") from held
    except OSError as failed:
        raise StoreError(f"{path}: cannot be read: {failed.strerror}") from failed


def _guard_writer(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise StoreError(f"{path}: a folder, where a chain file was expected")
        return _GUARD.writer(path)
    except FileInUse as held:
        raise ChainUnavailableError(
            f"{path}: {held}; one node at a time may use a chain folder"
        ) from held
    except OSError as failed:
        raise StoreError(f"{path}: cannot be opened: {failed.strerror}") from failed


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
