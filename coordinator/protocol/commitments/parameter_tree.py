"""The commitment to one ``int32`` vector: a Merkle tree over chunks of parameters (PROTOCOL §3).

A chunk is ``chunk_values`` values in big-endian order, the last one padded with zeros; the tree is
RFC 6962's; ``root = SHA256(0x02 | manifest_digest | tree_root | uint64 d)``. Not handled: storing
vectors, and what they mean (``numbers.fixed_point``).
"""

import hashlib
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.commitments.merkle import DIGEST_BYTES, path_positions, root_from_proof
from coordinator.protocol.commitments.sha256_lanes import hash_rows
from coordinator.protocol.commitments.sha256_vectors import LANES
from coordinator.protocol.errors import VerificationError
from coordinator.protocol.numbers.manifest import Manifest, check_vector
from coordinator.protocol.parallel import over_spans
from coordinator.protocol.types import Int32Vector

_LEAF_PREFIX = 0
_NODE_PREFIX = 1
_ROOT_PREFIX = b"\x02"
_NODE_WORDS = 2 * DIGEST_BYTES // 4


@dataclass(frozen=True, slots=True)
class TreeLayout:
    """What a parameter root commits to besides the values: a verifier's part of the manifest."""

    manifest_digest: bytes
    chunk_values: int
    dimension: int

    @classmethod
    def of(cls, manifest: Manifest) -> "TreeLayout":
        """Return the layout that a manifest announces."""
        return cls(manifest.digest(), manifest.chunk_values, manifest.dimension)

    @property
    def chunk_count(self) -> int:
        """Number of chunks, the leaves of the tree."""
        return -(-self.dimension // self.chunk_values)


@dataclass(frozen=True, slots=True)
class ChunkProof:
    """One padded chunk of a committed vector with its inclusion proof.

    ``chunk`` is ``4 * chunk_values`` big-endian bytes; ``siblings`` are 32 bytes each, from the
    leaf upwards.
    """

    index: int
    chunk: bytes
    siblings: tuple[bytes, ...]


def parameter_root(
    vector: Int32Vector, layout: Manifest | TreeLayout, *, threads: int | None = None
) -> bytes:
    """Return the 32-byte commitment to a model, an update or a velocity.

    Parameters
    ----------
    vector
        Shape ``(d,)``, ``int32``, C-contiguous; not modified.
    layout
        The manifest, or its digest, chunk size and dimension.
    threads
        At most this many; all cores this process may use when ``None``. The digest is the same.

    Raises
    ------
    MalformedUpdateError
        ``wrong-dtype`` or ``wrong-shape`` of the vector.
    """
    return ParameterTree(vector, layout, threads=threads).root


class ParameterTree:
    """All digests of one vector's tree: its root, and an inclusion proof for every chunk.

    Keeps a reference to the vector, which must not change, and 64 bytes per chunk.

    Raises
    ------
    MalformedUpdateError
        ``wrong-dtype`` or ``wrong-shape`` of the vector.

    Examples
    --------
    >>> layout = TreeLayout(bytes(32), chunk_values=2, dimension=3)
    >>> tree = ParameterTree(np.array([7, -1, 5], np.int32), layout)
    >>> verify_chunk(tree.root, layout, tree.proof(1))
    array([5, 0], dtype=int32)
    """

    def __init__(
        self, vector: Int32Vector, layout: Manifest | TreeLayout, *, threads: int | None = None
    ) -> None:
        self.layout = TreeLayout.of(layout) if isinstance(layout, Manifest) else layout
        check_vector(vector, self.layout.dimension, "vector")
        self._vector = vector
        self._levels = _tree_levels(vector, self.layout, threads)

    @property
    def root(self) -> bytes:
        """The commitment to the values, the manifest and the dimension, 32 bytes."""
        return _bind(_digest(self._levels[-1], 0), self.layout)

    def proof(self, index: int) -> ChunkProof:
        """Return chunk ``index`` with its siblings.

        Raises
        ------
        VerificationError
            If there is no such chunk.
        """
        positions = path_positions(index, self.layout.chunk_count)
        siblings = tuple(
            _digest(self._levels[height], place)
            for height, place in enumerate(positions)
            if place is not None
        )
        return ChunkProof(index, chunk_bytes(self._vector, index, self.layout), siblings)


def chunk_bytes(vector: Int32Vector, index: int, layout: TreeLayout) -> bytes:
    """Return the big-endian bytes of one chunk, padded with zeros."""
    start = index * layout.chunk_values
    values = vector[start : start + layout.chunk_values]
    return values.astype(">i4").tobytes().ljust(4 * layout.chunk_values, b"\x00")


def verify_chunk(root: bytes, layout: Manifest | TreeLayout, proof: ChunkProof) -> Int32Vector:
    """Check one chunk against a committed root.

    Parameters
    ----------
    root
        The commitment, 32 bytes.
    layout
        From the same source as the root, never from the prover.
    proof
        The prover's claim, untrusted.

    Returns
    -------
    The chunk's values, shape ``(chunk_values,)``, ``int32``; zeros past the dimension.

    Raises
    ------
    VerificationError
        If the chunk is not part of the commitment, or its padding is not zero.
    """
    layout = TreeLayout.of(layout) if isinstance(layout, Manifest) else layout
    place = f"chunk {proof.index} of {layout.chunk_count}"
    if len(proof.chunk) != 4 * layout.chunk_values:
        raise VerificationError(
            f"{place} has {len(proof.chunk)} bytes, expected {4 * layout.chunk_values}"
        )
    tree_root = root_from_proof(proof.chunk, proof.index, layout.chunk_count, proof.siblings)
    computed = _bind(tree_root, layout)
    if computed != root:
        raise VerificationError(f"{place} leads to {computed.hex()}, expected {root.hex()}")
    used = layout.dimension - proof.index * layout.chunk_values
    values = np.frombuffer(proof.chunk, ">i4").astype(np.int32)
    if values[max(used, 0) :].any():
        raise VerificationError(f"{place} has padding that is not zero after {used} values")
    return values


def _bind(tree_root: bytes, layout: TreeLayout) -> bytes:
    # With the dimension: an inclusion proof alone does not fix the number of leaves (ADR 31).
    size = layout.dimension.to_bytes(8, "big")
    return hashlib.sha256(_ROOT_PREFIX + layout.manifest_digest + tree_root + size).digest()


def _digest(level: NDArray[np.uint32], index: int) -> bytes:
    return bytes(level[index].astype(">u4").tobytes())


def _tree_levels(
    vector: Int32Vector, layout: TreeLayout, threads: int | None
) -> list[NDArray[np.uint32]]:
    leaves = np.empty((layout.chunk_count, 8), np.uint32)
    _hash_level(vector, layout.chunk_values, _LEAF_PREFIX, leaves, layout.chunk_count, threads)
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = len(below) // 2
        above = np.empty((len(below) - pairs, 8), np.uint32)
        _hash_level(below, _NODE_WORDS, _NODE_PREFIX, above, pairs, threads)
        above[pairs:] = below[2 * pairs :]
        levels.append(above)
    return levels


def _hash_level(
    values: NDArray[np.int32] | NDArray[np.uint32],
    row_words: int,
    prefix: int,
    out: NDArray[np.uint32],
    rows: int,
    threads: int | None,
) -> None:
    groups = -(-rows // LANES)

    def span(hash_some: partial[None], start: int, stop: int) -> None:
        hash_some(start * LANES, min(stop * LANES, rows), out)

    hash_some = partial(hash_rows, values, row_words, prefix)
    over_spans(partial(span, hash_some), groups, cost=LANES * row_words, threads=threads)
