"""In-memory fakes of the artifact store and the coordinator's journal."""

import hashlib

from coordinator.protocol.commitments import documents
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector, JsonObject, RoundId


class MemoryStore:
    """An :class:`~coordinator.ports.ArtifactStore` in dictionaries."""

    def __init__(self) -> None:
        self.vectors: dict[bytes, Int32Vector] = {}
        self.documents: dict[tuple[str, bytes], bytes] = {}
        self.blobs: dict[bytes, bytes] = {}

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Keep a copy of a vector under its root."""
        assert parameter_root(vector, manifest) == root
        self.vectors[root] = vector.copy()

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return the vector of this root."""
        if root not in self.vectors:
            raise BlobMissingError(f"vector {root.hex()}: missing")
        vector = self.vectors[root]
        assert parameter_root(vector, manifest) == root
        return vector

    def put_document(self, kind: str, name: bytes, document: JsonObject) -> None:
        """Keep a document under the root it is committed by."""
        assert documents.name_of(kind, document) == name
        self.documents[kind, name] = documents.encode(document)

    def get_document(self, kind: str, name: bytes) -> JsonObject:
        """Return a document, checked."""
        if (kind, name) not in self.documents:
            raise BlobMissingError(f"{kind} {name.hex()}: missing")
        return documents.decode(kind, name, self.documents[kind, name], f"{kind} {name.hex()}")

    def put_bytes(self, data: bytes) -> bytes:
        """Keep bytes under their SHA-256."""
        digest = hashlib.sha256(data).digest()
        self.blobs[digest] = data
        return digest

    def get_bytes(self, digest: bytes) -> bytes:
        """Return bytes by SHA-256."""
        if digest not in self.blobs:
            raise BlobMissingError(f"blob {digest.hex()}: missing")
        return self.blobs[digest]

    def sync(self) -> None:
        """Do nothing: there is no disk."""


class MemoryJournal:
    """A :class:`~coordinator.ports.RoundJournal` in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[int, JsonObject] = {}

    def put(self, round_id: RoundId, entry: JsonObject) -> None:
        """Keep a round's entry."""
        self.entries[int(round_id)] = entry

    def get(self, round_id: RoundId) -> JsonObject:
        """Return a round's entry."""
        if int(round_id) not in self.entries:
            raise BlobMissingError(f"journal of round {round_id}: missing")
        return self.entries[int(round_id)]
