"""Nesting write batches over an abstract table, and a table in memory.

py-evm opens several batches while it builds one block. An outer batch around them makes the block a
single commit, so that a block is on disk completely or not at all (ADR 0021).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eth.abc import AtomicWriteBatchAPI
from eth.db.backends.base import BaseAtomicDB, BaseDB

from coordinator.protocol.errors import StoreError

DELETED: Final = None
"""Marks a key as removed among a batch's writes."""


class _Batch(BaseDB, AtomicWriteBatchAPI):
    """A readable view of the store with the writes of one open batch on top."""

    def __init__(self, below: BaseDB) -> None:
        self.writes: dict[bytes, bytes | None] = {}
        self._below = below

    def __getitem__(self, key: bytes) -> bytes:
        if key in self.writes:
            value = self.writes[key]
            if value is DELETED:
                raise KeyError(key)
            return value
        below: bytes = self._below[key]
        return below

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.writes[key] = bytes(value)

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self.writes[key] = DELETED

    def _exists(self, key: bytes) -> bool:
        if key in self.writes:
            return self.writes[key] is not DELETED
        return key in self._below


class BatchingDB(BaseAtomicDB):
    """Nesting batches over an abstract table; reads see the writes of open batches."""

    def __init__(self) -> None:
        self._open: list[_Batch] = []

    def _read(self, key: bytes) -> bytes | None:
        raise KeyError(key)

    def _write(self, writes: dict[bytes, bytes | None]) -> None:
        raise StoreError(f"{len(writes)} write(s) to a store that is read-only")

    def __getitem__(self, key: bytes) -> bytes:
        for batch in reversed(self._open):
            if key in batch.writes:
                value = batch.writes[key]
                if value is DELETED:
                    raise KeyError(key)
                return value
        stored = self._read(key)
        if stored is None:
            raise KeyError(key)
        return stored

    def __setitem__(self, key: bytes, value: bytes) -> None:
        with self.atomic_batch() as batch:
            batch[key] = value

    def __delitem__(self, key: bytes) -> None:
        with self.atomic_batch() as batch:
            del batch[key]

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def checkpoint_and_close(self) -> None:
        """Complete the file and release it. Idempotent."""

    @contextmanager
    def atomic_batch(self) -> Iterator[_Batch]:
        """Collect writes; commit all of them at the end of the ``with`` block, none if it raises.

        py-evm's own batches nest in one of these, so that a block is one commit (ADR 0021).

        Raises
        ------
        StoreError
            If the outermost batch cannot be written; none of its writes are kept then.
        """
        batch = _Batch(self._open[-1] if self._open else self)
        self._open.append(batch)
        try:
            yield batch
        finally:
            self._open.pop()
        if self._open:
            self._open[-1].writes.update(batch.writes)
        elif batch.writes:
            self._write(batch.writes)


class MemoryDB(BatchingDB):
    """A table in memory, with snapshots that can be reverted to."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[bytes, bytes] = {}
        self._undo: list[dict[bytes, bytes | None]] = []

    def _read(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def _write(self, writes: dict[bytes, bytes | None]) -> None:
        if self._undo:
            journal = self._undo[-1]
            for key in writes:
                journal.setdefault(key, self._rows.get(key))
        self._apply(writes)

    def _apply(self, writes: dict[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is DELETED:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def snapshot(self) -> int:
        """Start a snapshot; return its number, from 1."""
        self._undo.append({})
        return len(self._undo)

    def revert(self, snapshot: int) -> None:
        """Undo every write since ``snapshot``, and delete it and all later ones.

        Raises
        ------
        KeyError
            If there is no such snapshot.
        """
        if not 1 <= snapshot <= len(self._undo):
            raise KeyError(snapshot)
        while len(self._undo) >= snapshot:
            self._apply(self._undo.pop())

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in order of key."""
        return iter(sorted(self._rows.items()))
