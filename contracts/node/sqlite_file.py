"""The SQLite file under the store: how it is opened, recognised, written, and how it fails."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from coordinator.protocol.errors import ChainUnavailableError, FedproofError, StoreError

APPLICATION_ID: Final = 0x46504348
"""``FPCH`` in the SQLite header: this file is a Fedproof chain."""
SCHEMA_VERSION: Final = 1
_MAGIC: Final = b"SQLite format 3\x00"


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours, naming the file."""
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
    """Commit what happens inside, or roll it back and re-raise."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # After a full disk SQLite may have rolled back by itself: then there is nothing to do.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def connect_for_writing(path: Path) -> sqlite3.Connection:
    """Open or create the file, hold it exclusively, and make sure that it is a chain.

    Nothing is written to a file that turns out to be something else.
    """
    if path.exists():
        require_magic(path)
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
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute("PRAGMA synchronous=FULL")
            if is_new:
                _create_schema(connection)
            with transaction(connection):
                pass  # takes the lock now: a second node is refused here, not at its first block
    except FedproofError:
        connection.close()
        raise
    return connection


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
    """Refuse a file that is not SQLite's, before SQLite is let near it."""
    with named_errors(path), path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start and start != _MAGIC:
        raise StoreError(f"{path}: not a chain file (it starts with {start[:8]!r})")


def require_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse an SQLite file of another kind or format."""
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != APPLICATION_ID:
        raise StoreError(
            f"{path}: an SQLite file, but not a Fedproof chain"
            f" (application id {found:#x}, expected {APPLICATION_ID:#x})"
        )
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: chain format {version}; this version of Fedproof reads {SCHEMA_VERSION}"
        )
