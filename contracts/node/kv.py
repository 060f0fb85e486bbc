"""The chain's key-value store: one SQLite file, one commit per block (ADR 0021).

py-evm writes through :class:`SqliteDB`. Every write is in a
:meth:`~contracts.node.batching.BatchingDB.atomic_batch`; batches nest, and only the outermost
one writes to the file, in one transaction with ``synchronous=FULL``.

:func:`open_read_only` reads a file without changing it or its folder.

One writer, or any number of readers, may have a file open. Between processes SQLite's own lock
enforces that, with two additions. A reader that opens the file as immutable does not check the
lock, so :func:`probe_shared` does. And POSIX locks belong to a process: closing *any* handle on a
file drops the locks that SQLite holds on it, so inside one process a second user is refused before
it opens the file (:class:`InProcessGuard`).

A file that was copied without its log is refused (:func:`require_log`): it would open as an older
chain, or as an empty one. So that a kill never leaves a file that looks like that, the log is
created before the file's header mentions it, and SQLite's journal is kept until the header no
longer does (ADR 0150).

Not handled here: the meaning of keys (``replica``), and several writers (refused).
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from contracts.node.batching import DELETED, BatchingDB, MemoryDB
from coordinator.protocol.errors import ChainUnavailableError, FedproofError, StoreError

_SHARED_FIRST: Final = 0x40000002
"""First of SQLite's shared lock bytes (sqlite.org/fileformat2.html, "the lock-byte page")."""
_SHARED_SIZE: Final = 510


class FileInUse(Exception):
    """Another user has the file open; the message says which, if known."""


class InProcessGuard:
    """Counts this process's users of each chain file.

    A process loses its POSIX locks on a file when it closes any handle of the file (ADR 0021).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[Path, int] = {}
        self._writers: set[Path] = set()

    def writer(self, path: Path) -> Path:
        """Claim ``path`` for writing; pass the result to :meth:`release`."""
        key = path.resolve()
        with self._lock:
            if key in self._writers:
                raise FileInUse("already open in this process")
            if self._readers.get(key):
                raise FileInUse("being read in this process")
            self._writers.add(key)
        return key

    def release(self, key: Path) -> None:
        """Release a writer's claim."""
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
        # SQLite sees this byte range only: no library locks it (ADR 0139).
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except OSError as held:
        file.close()
        raise FileInUse("open in another process") from held
    return file


APPLICATION_ID: Final = 0x46504348
"""``FPCH`` in the SQLite header: this file is a Fedproof chain."""
SCHEMA_VERSION: Final = 1
_MAGIC: Final = b"SQLite format 3\x00"
_WRITTEN_WITH_LOG: Final = b"\x02\x02"
"""Bytes 18 and 19 of the header: the newest commits are in a log beside the file."""


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite and the system into the project's, with the file's name."""
    try:
        yield
    except sqlite3.Error as failed:
        name = getattr(failed, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise ChainUnavailableError(
                f"{path}: locked by another process; one node at a time may use a chain folder"
            ) from failed
        raise StoreError(f"{path}: {_explain(name)} (SQLite: {failed})") from failed
    except OSError as failed:
        raise StoreError(f"{path}: {failed.strerror}") from failed


def _explain(errorname: str) -> str:
    if errorname.startswith("SQLITE_FULL"):
        return "no room left on the disk; this write is not kept, earlier blocks are intact"
    if errorname.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "damaged, or not a chain file"
    if errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")):
        return "cannot be opened; check that it and its folder can be read and written"
    return "the store failed"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit at the end of the ``with`` block; roll back if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # With a full disk SQLite may have rolled back by itself, and the statement fails.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def connect_for_writing(path: Path) -> sqlite3.Connection:
    """Open or create the file, lock it exclusively, and check that it is a chain.

    A file that is not a chain is not written to.
    """
    if path.exists():
        require_magic(path)
        require_log(path)
    with named_errors(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=0.0
        )
    try:
        with named_errors(path):
            # Exclusive mode holds the lock for as long as the file is open, and keeps the
            # log's index in memory instead of in a third file.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchone()
            is_new = _count_tables(connection) == 0
            if not is_new:
                require_schema(path, connection)
            _begin_log(path, connection)
            connection.execute("PRAGMA synchronous=FULL")
            if is_new:
                _create_schema(connection)
            with transaction(connection):
                pass  # takes the lock now, so that a second node is refused before its first block
    except BaseException:
        had_log = _log(path).exists()
        connection.close()
        if had_log:
            # Closing has merged and removed the log; an empty one shows that none was lost.
            _log(path).touch()
        raise
    return connection


def _begin_log(path: Path, connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, whose file is created before the header mentions it."""
    _log(path).touch()
    connection.execute("PRAGMA journal_mode=WAL").fetchone()


def _end_log(path: Path, connection: sqlite3.Connection) -> None:
    """Merge the log into the file and remove it, so that one file is left."""
    with named_errors(path):
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            return
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        # SQLite removes the log first and changes the header after that, with a journal.
        _journal(path).touch()
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()


def _log(path: Path) -> Path:
    return Path(f"{path}-wal")


def _journal(path: Path) -> Path:
    return Path(f"{path}-journal")


def _count_tables(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _create_schema(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute(
            "CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )


def require_magic(path: Path) -> None:
    """Refuse a file that is not SQLite's, before SQLite opens it."""
    with named_errors(path), path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start and start != _MAGIC:
        raise StoreError(f"{path}: not a chain file (it starts with {start[:8]!r})")


def require_log(path: Path, *, shown: Path | None = None) -> None:
    """Refuse a file without the log that holds its newest blocks.

    Parameters
    ----------
    shown
        The file's name in errors.
    """
    with named_errors(shown or path), path.open("rb") as file:
        header = file.read(20)
    if header[18:] == _WRITTEN_WITH_LOG and not any(map(Path.exists, (_log(path), _journal(path)))):
        name = _log(shown or path).name
        raise StoreError(
            f"{shown or path}: not a Fedproof chain as a node left it: its newest blocks are in "
            f"{name}, and that is not beside it; expected both files of an open or killed chain, "
            "or the one file of a closed chain (docs/chain.md, The file)"
        )


def require_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse an SQLite file of another kind or format."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise StoreError(
            f"{path}: an SQLite file, but not a Fedproof chain"
            f" (application id {application_id:#x}, expected {APPLICATION_ID:#x})"
        )
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: chain format {version}; this version of Fedproof reads {SCHEMA_VERSION}"
        )


__all__ = ["MemoryDB", "ReadOnlyDB", "SqliteDB", "open_read_only"]

GUARD: Final = InProcessGuard()
"""The process's guard, which must be asked before a chain file is opened."""


class SqliteDB(BatchingDB):
    """The store in one SQLite file (WAL, ``synchronous=FULL``), locked by one process at a time.

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
        except BaseException:
            self._release()
            raise
        # The interpreter closes an unclosed connection and removes its log without changing the
        # header, which would look like a lost log.
        self._finalizer = weakref.finalize(
            self, _close_unclosed, path, self._connection, os.getpid()
        )

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
        """Merge the log into the file and close it, so that one file is left. Idempotent."""
        if self._key is None:
            return
        self._finalizer.detach()
        try:
            _end_log(self.path, self._connection)
        finally:
            self._connection.close()
            self._release()

    def _release(self) -> None:
        if self._key is not None:
            GUARD.release(self._key)
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
        """Return the faults that SQLite's own integrity check finds, empty if there are none."""
        with named_errors(self.path):
            rows = self._connection.execute("PRAGMA integrity_check").fetchall()
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def checkpoint_and_close(self) -> None:
        """Release the file, and delete the temporary copy if there is one."""
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
    """A copy of the file and its log, for a chain that was not closed cleanly."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fedproof-chain-"))
        self.path = self.folder / path.name
        try:
            with self.path.open("wb") as copy:
                # Read through the handle that holds the lock: closing another would drop it.
                shutil.copyfileobj(file, copy)
            for companion in (_log, _journal):
                if companion(path).exists():
                    shutil.copyfile(companion(path), companion(self.path))
        except OSError as error:
            self.close()
            text = f"{path}: cannot be copied to {self.folder}: {error.strerror or error}"
            raise ChainUnavailableError(text) from error

    def close(self) -> None:
        shutil.rmtree(self.folder)


def open_read_only(path: Path) -> ReadOnlyDB:
    """Open a chain file for reading, without changing it or its folder.

    After a kill, a chain's newest blocks are in its log: then both files are copied to a temporary
    folder, and the copy is read.

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
        require_log(path)
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        if _is_filled(_log(path)) or _is_filled(_journal(path)):
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
        resources.enter_context(GUARD.reader(path))
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
        return GUARD.writer(path)
    except FileInUse as held:
        raise ChainUnavailableError(
            f"{path}: {held}; one node at a time may use a chain folder"
        ) from held
    except OSError as failed:
        raise StoreError(f"{path}: cannot be opened: {failed.strerror}") from failed


def _close_unclosed(path: Path, connection: sqlite3.Connection, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not close its parent's chain
        with suppress(FedproofError, sqlite3.Error):
            _end_log(path, connection)
        connection.close()


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
