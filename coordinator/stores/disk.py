"""Artifact store on disk: content-addressed, atomic, re-hashed on every read (PROTOCOL §8).

``blobs/<first two hex digits>/<hex>.<kind>``, where the name is the digest under which the
chain or another artifact commits to the blob:

=====================  ======================================================================
``.safetensors``       an int32 vector, named by its parameter root
``.bin``               opaque bytes, named by their SHA-256
``.<kind>.json``       a canonical JSON document, whose kind decides its name (``documents``)
=====================  ======================================================================

Each write goes to a temporary file, which is flushed to disk and renamed; then the folder is
flushed. Writes run in a small thread pool so that hashing and training go on meanwhile; ``sync``
waits for them before anything is committed to. A blob's bytes are canonical: a file with the right
content in another encoding is corrupt, so every changed byte is noticed.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from coordinator.local.files import TEMPORARY, is_regular, replace_file
from coordinator.protocol.commitments import documents
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobCorruptError, BlobMissingError, StoreError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector, JsonObject
from coordinator.stores import vector_file

Content = Callable[[], Sequence[bytes | memoryview]]
"""Yields the pieces of a file, in order."""

_WRITERS = 4


class DiskStore:
    """An :class:`~coordinator.ports.ArtifactStore` in one folder.

    Parameters
    ----------
    root
        The blob folder; created when missing unless ``read_only``.
    read_only
        Never create or write anything: for ``verify``, and while another process writes.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self._root = root
        self._read_only = read_only
        self._lock = threading.Lock()
        self._pending: dict[Path, Future[None]] = {}
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="fedproof-store")
        if not read_only:
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"artifact store {root}: {error.strerror or error}") from error

    # --- vectors -----------------------------------------------------------------------

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Queue an int32 vector of shape ``(d,)``; it must not change until ``sync``."""
        path = self.path(root, "safetensors")
        self._write(path, lambda: vector_file.encode(vector, manifest.digest()))

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return the vector of this root, re-hashed; shape ``(d,)``, int32, read-only."""
        path = self.path(root, "safetensors")
        vector = vector_file.decode(self._read(path), manifest, str(path))
        computed = parameter_root(vector, manifest)
        if computed != root:
            raise BlobCorruptError(
                f"{path}: content hashes to {computed.hex()}, expected {root.hex()}"
            )
        return vector

    # --- documents and bytes -----------------------------------------------------------

    def put_document(self, kind: str, name: bytes, document: JsonObject) -> None:
        """Write a canonical JSON document under the root that it is committed by."""
        computed = documents.name_of(kind, document)
        if computed != name:
            raise StoreError(
                f"{kind} document: content hashes to {computed.hex()}, not to {name.hex()}"
            )
        data = documents.encode(document)
        self._write(self.path(name, f"{kind}.json"), lambda: [data])

    def get_document(self, kind: str, name: bytes) -> JsonObject:
        """Return a document of a kind, checked to be canonical and to hash to its name."""
        path = self.path(name, f"{kind}.json")
        return documents.decode(kind, name, self._read(path), str(path))

    def put_bytes(self, data: bytes) -> bytes:
        """Write opaque bytes; return their SHA-256, which names them."""
        digest = hashlib.sha256(data).digest()
        self._write(self.path(digest, "bin"), lambda: [data])
        return digest

    def get_bytes(self, digest: bytes) -> bytes:
        """Return opaque bytes, re-hashed."""
        path = self.path(digest, "bin")
        data = self._read(path)
        if hashlib.sha256(data).digest() != digest:
            raise BlobCorruptError(
                f"{path}: content hashes to {hashlib.sha256(data).hexdigest()}, "
                f"expected {digest.hex()}"
            )
        return data

    # --- the folder --------------------------------------------------------------------

    def sync(self) -> None:
        """Wait until all queued writes are on disk; raises the first error."""
        with self._lock:
            pending, self._pending = self._pending, {}
        failed: OSError | None = None
        for future in pending.values():
            try:
                future.result()
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise StoreError(
                f"artifact store {self._root}: cannot write {failed.filename or 'a blob'}: "
                f"{failed.strerror or failed}; free some space or permission and run again "
                "with --resume"
            ) from failed

    def discard_leftovers(self) -> None:
        """Remove a killed process's unfinished files; only while no other process writes here."""
        for leftover in self._root.glob(f"*/{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish writing and stop the threads."""
        try:
            self.sync()
        finally:
            self._pool.shutdown()

    def paths(self) -> Iterator[Path]:
        """Yield every file of the store, sorted."""
        yield from sorted(p for p in self._root.rglob("*") if p.is_file())

    def keep_only(self, names: Collection[str]) -> None:
        """Delete every blob whose file name is not in ``names``.

        Only while no other process writes here.

        Raises
        ------
        StoreError
            If a file cannot be deleted.
        """
        self.sync()
        try:
            for path in self.paths():
                if path.name not in names:
                    path.unlink()
        except OSError as error:
            raise StoreError(f"artifact store {self._root}: {error.strerror or error}") from error

    def path(self, name: bytes, suffix: str) -> Path:
        """Return the path of the blob of this name, whether it exists or not.

        Raises
        ------
        StoreError
            If the name is not 32 bytes.
        """
        if len(name) != 32:
            raise StoreError(f"blob name {name.hex()!r}: expected 32 bytes, found {len(name)}")
        text = name.hex()
        return self._root / text[:2] / f"{text}.{suffix}"

    def _read(self, path: Path) -> bytes:
        with self._lock:
            pending = self._pending.get(path)
        if pending is not None:
            pending.result()
        try:
            if not is_regular(path):
                raise BlobCorruptError(f"{path}: not a regular file")
            return path.read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(f"{path}: blob is missing") from error
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error

    def _write(self, path: Path, content: Content) -> None:
        if self._read_only:
            raise StoreError(f"artifact store {self._root} is open for reading only")
        with self._lock:
            if path not in self._pending:
                self._pending[path] = self._pool.submit(_write_once, path, content)


def _write_once(path: Path, content: Content) -> None:
    """Write a blob unless it exists: its name determines its content."""
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    replace_file(path, content())
