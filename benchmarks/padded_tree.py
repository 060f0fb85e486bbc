"""A false tree for benchmarks and tests of disputes, with a value after the last parameter."""

import hashlib

from coordinator.protocol.commitments.merkle import inclusion_proof, merkle_root
from coordinator.protocol.commitments.parameter_tree import ChunkProof, ParameterTree, TreeLayout
from coordinator.protocol.types import Int32Vector


def padded_tree(vector: Int32Vector, layout: TreeLayout, extra: int) -> tuple[bytes, ChunkProof]:
    """Return root and last chunk of a vector with ``extra`` as the last value of its padding.

    ``vector``: shape ``(d,)`` int32, where *d* is not a multiple of the chunk's size.
    """
    tree, last = ParameterTree(vector, layout), layout.chunk_count - 1
    chunks = [tree.proof(i).chunk for i in range(last + 1)]
    chunks[last] = chunks[last][:-4] + extra.to_bytes(4, "big", signed=True)
    size = layout.dimension.to_bytes(8, "big")
    bound = hashlib.sha256(b"\2" + layout.manifest_digest + merkle_root(chunks) + size).digest()
    return bound, ChunkProof(last, chunks[last], inclusion_proof(chunks, last))
