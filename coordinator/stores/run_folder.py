"""The folder of a run: the paths of its artifacts, its lock, and its checksums.

======================  =====================================================================
``config.json``         resolved experiment or federation config, canonical JSON
``federation.json``     chain id, contract address, genesis: where the chain's commitments are
``versions.json``       versions of Python and of the relevant packages
``chain/``              the embedded chain's store
``blobs/``              the artifact store
``rounds/ attempts/``   the coordinator's notes of each round, and its failed attacks
``pending/``            signed updates that are not revealed yet, while the run goes on
``metrics.jsonl .csv``  one line per round
``*.json``              ``contributors`` and ``coordinator``: their final states
``withheld/``           vectors that a dishonest coordinator does not publish (an attack)
``plots/ report.md``    plots and report
``SHA256SUMS``          digest of every file but report and plots, written when complete
======================  =====================================================================

``SHA256SUMS`` shows a changed byte in data that does not follow from the chain (unused bytes of the
database file, versions, test accuracy); everything else is checked against the chain. Report and
plots can be made again from the rest at any time. ``run_layout`` lists the allowed files.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coordinator.local.files import TEMPORARY, read_file, unreadable, write_durably
from coordinator.local.lock import exclusive_lock, is_locked
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    ConfigError,
    StoreError,
    VerificationError,
)
from coordinator.protocol.types import JsonObject, RoundId
from coordinator.stores import checksums
from coordinator.stores.run_layout import (
    CHECKSUMS,
    CONFIG,
    FILES,
    FOLDERS,
    LOCK,
    entries,
    is_covered,
    misplaced,
)

_TEMPORARIES = tuple(TEMPORARY + name for name in FILES)


class RunFolder:
    """Paths, lock and small files of one run; ``read_only`` never writes a byte."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        self.read_only = read_only
        self._lock: FileLock | None = None

    @property
    def config(self) -> Path:
        """Path of the resolved config."""
        return self.root / CONFIG

    @property
    def federation(self) -> Path:
        """Path of the chain's coordinates."""
        return self.root / "federation.json"

    @property
    def chain(self) -> Path:
        """Path of the embedded chain's store."""
        return self.root / "chain" / "chain.sqlite"

    @property
    def blobs(self) -> Path:
        """Path of the artifact store."""
        return self.root / "blobs"

    @property
    def plots(self) -> Path:
        """Path of the plots."""
        return self.root / "plots"

    @property
    def is_complete(self) -> bool:
        """Whether the run was finished (its checksums are written last)."""
        return (self.root / CHECKSUMS).is_file()

    def reopen(self) -> None:
        """Make a finished run one that is going on; only while it is locked.

        The checksums are deleted first, then the final states, which are written again at its end.

        Raises
        ------
        StoreError
            If a file cannot be deleted.
        """
        for name in (CHECKSUMS, "contributors.json", "coordinator.json"):
            path = self.root / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"cannot delete {path}: {error.strerror or error}") from error

    def create(self) -> None:
        """Make the folder and take its lock; existing files are kept.

        Raises
        ------
        StoreError
            If the folder cannot be made, or another process holds its lock.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = exclusive_lock(self.root / LOCK)
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"run folder {self.root} is in use by another process; wait for it or choose "
                "another --out"
            ) from error
        except OSError as error:
            raise StoreError(f"run folder {self.root}: {error.strerror or error}") from error
        self._lock = lock

    def names(self) -> list[str]:
        """Return the names in the folder, sorted; none if there is no folder.

        Raises
        ------
        StoreError
            If the folder cannot be listed.
        """
        try:
            return sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"run folder {self.root}: {error.strerror or error}") from error

    def foreign(self) -> list[str]:
        """Return the names in the folder that do not belong to a run."""
        return sorted({*self.names()} - {LOCK, *FILES, *FOLDERS, *_TEMPORARIES})

    def discard_leftovers(self) -> None:
        """Remove a killed process's unfinished files; only in a locked folder of a run."""
        inside = (p for name in FOLDERS for p in (self.root / name).rglob(f"{TEMPORARY}*"))
        for leftover in (*(self.root / name for name in _TEMPORARIES), *inside):
            if leftover.is_file():
                leftover.unlink(missing_ok=True)

    def discard_empty_folders(self) -> None:
        """Remove the empty folders of a run; only while it is locked.

        Raises
        ------
        StoreError
            If a folder cannot be removed.
        """
        try:
            for entry in reversed(entries(self.root)):
                if entry.kind == "folder" and entry.name.partition("/")[0] in FOLDERS:
                    folder = self.root / entry.name
                    if not any(folder.iterdir()):
                        folder.rmdir()
        except OSError as error:
            raise StoreError(f"run folder {self.root}: {error.strerror or error}") from error

    def clear(self) -> None:
        """Delete all files of a run except the lock; only while it is locked.

        The checksums are deleted first and the config last, so that a process killed in between
        leaves an unfinished run.

        Raises
        ------
        StoreError
            If a file cannot be deleted.
        """
        between = [n for n in (*FOLDERS, *FILES, *_TEMPORARIES) if n not in (CHECKSUMS, CONFIG)]
        for name in (CHECKSUMS, *between, CONFIG):
            path = self.root / name
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"cannot delete {path}: {error.strerror or error}") from error

    def is_in_use(self) -> bool:
        """Return whether a process, this one included, holds the folder's lock.

        Raises
        ------
        StoreError
            If the lock cannot be read.
        """
        path = self.root / LOCK
        try:
            return is_locked(path)
        except OSError as error:
            raise unreadable(path, error) from error

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def read_json(self, path: Path) -> JsonObject:
        """Return a JSON object of the folder.

        Raises
        ------
        ConfigError
            If the file is missing or not a JSON object.
        StoreError
            If it cannot be read.
        """
        try:
            value: Any = parse_json(path.read_bytes(), str(path))
        except FileNotFoundError as error:
            raise ConfigError(
                f"{path}: missing; expected a run folder written by 'fedproof simulate'"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
        except VerificationError as error:
            raise ConfigError(str(error)) from error
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: expected a JSON object, found {type(value).__name__}")
        return value

    def write(self, path: Path, data: bytes) -> None:
        """Write a small file atomically and durably."""
        write_durably(path, [data], mode=None)

    # --- checksums -----------------------------------------------------------------------

    def files(self) -> list[str]:
        """Return the name of every file that the checksums cover, sorted.

        Raises
        ------
        StoreError
            If a folder cannot be listed.
        """
        return [entry.name for entry in entries(self.root) if is_covered(entry)]

    def check_readable(self) -> None:
        """Open every file that the checksums cover; one that is removed meanwhile is ignored.

        Raises
        ------
        StoreError
            If a file cannot be read, so that it cannot be checked; names the first.
        """
        for name in self.files():
            checksums.require_readable(self.root / name)

    def write_checksums(self) -> None:
        """Write ``SHA256SUMS`` in the form that ``sha256sum -c`` reads."""
        self.write(self.root / CHECKSUMS, checksums.checksum_lines(self.root, self.files()))

    def check_checksums(self) -> Iterator[tuple[str, str]]:
        """Yield ``(file, problem)`` for every file that is not as it was written.

        Raises
        ------
        StoreError
            If a file exists and cannot be read.
        """
        return checksums.check(self.root, self.root / CHECKSUMS, self.files())

    def misplaced(self, *, finished: bool) -> Iterator[tuple[str, str]]:
        """Yield ``(name, problem)`` for each entry of the folder that is not part of a run.

        Parameters
        ----------
        finished
            Whether the run is complete: then unfinished files and unrevealed updates are problems.

        Raises
        ------
        StoreError
            If a folder cannot be listed.
        """
        return misplaced(entries(self.root), finished=finished)


class FileJournal:
    """A :class:`~coordinator.ports.RoundJournal` with one JSON file per round."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, round_id: RoundId, entry: JsonObject) -> None:
        """Write a round's entry atomically and durably."""
        data = json.dumps(entry, indent=1, sort_keys=True).encode() + b"\n"
        write_durably(self._path(round_id), [data], mode=None)

    def get(self, round_id: RoundId) -> JsonObject:
        """Return a round's entry.

        Raises
        ------
        BlobMissingError, BlobCorruptError
            If there is none; if it is not a JSON object.
        """
        path = self._path(round_id)
        if not path.exists():
            raise BlobMissingError(f"{path}: missing")
        try:
            value: Any = parse_json(read_file(path), str(path))
        except VerificationError as error:
            raise BlobCorruptError(str(error)) from error
        if not isinstance(value, dict):
            raise BlobCorruptError(f"{path}: expected a JSON object")
        return value

    def _path(self, round_id: RoundId) -> Path:
        return self._root / f"{round_id:06d}.json"
