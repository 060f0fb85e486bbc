import hashlib
from dataclasses import replace

import numpy as np
import pytest

from coordinator.protocol.commitments import merkle
from coordinator.protocol.commitments.parameter_tree import (
    ChunkProof,
    ParameterTree,
    TreeLayout,
    parameter_root,
    verify_chunk,
)
from coordinator.protocol.errors import MalformedUpdateError, VerificationError
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec

MANIFEST = Manifest((TensorSpec("w", (10,), "float32"),), chunk_values=4)
VECTOR = np.array([0, 1, -1, 2**31 - 1, -(2**31), 5, 6, 7, 8, 9], np.int32)


def reference_root(vector, layout):
    """The slow way, over hashlib, as PROTOCOL section 3 puts it."""
    data = b"".join(int(v).to_bytes(4, "big", signed=True) for v in vector)
    size = 4 * layout.chunk_values
    chunks = [data[i : i + size].ljust(size, b"\0") for i in range(0, len(data), size)]
    top = merkle.merkle_root(chunks)
    bound = b"\x02" + layout.manifest_digest + top + len(vector).to_bytes(8, "big")
    return hashlib.sha256(bound).digest()


def test_ten_values_by_hand():
    chunks = [
        bytes.fromhex("0000000000000001ffffffff7fffffff"),
        bytes.fromhex("80000000000000050000000600000007"),
        bytes.fromhex("00000008000000090000000000000000"),
    ]
    leaves = [hashlib.sha256(b"\0" + chunk).digest() for chunk in chunks]
    left = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    top = hashlib.sha256(b"\1" + left + leaves[2]).digest()
    size = (10).to_bytes(8, "big")
    root = hashlib.sha256(b"\2" + MANIFEST.digest() + top + size).digest()
    assert parameter_root(VECTOR, MANIFEST) == root
    assert ParameterTree(VECTOR, MANIFEST).proof(2) == ChunkProof(2, chunks[2], (left,))


# every place where padding, a block of 16 values or a group of 16 messages begins or ends
@pytest.mark.parametrize("chunk_values", [1, 2, 13, 14, 15, 16, 17, 29, 30, 31, 32, 33, 256])
@pytest.mark.parametrize("dimension", [1, 2, 15, 16, 17, 255, 256, 257, 4096, 4097, 5000])
def test_root_is_the_slow_definition(chunk_values, dimension):
    layout = TreeLayout(bytes(range(32)), chunk_values, dimension)
    random = np.random.default_rng(chunk_values * 10_000 + dimension)
    vector = random.integers(-(2**31), 2**31, dimension).astype(np.int32)
    assert parameter_root(vector, layout) == reference_root(vector, layout)


def test_threads_do_not_change_the_root():
    layout = TreeLayout(bytes(32), 16, 300_000)
    vector = np.random.default_rng(1).integers(-(2**31), 2**31, 300_000).astype(np.int32)
    roots = {parameter_root(vector, layout, threads=threads) for threads in (1, 2, 5, None)}
    assert roots == {reference_root(vector, layout)}


def test_read_only_and_unaligned_vectors():
    packed = np.frombuffer(b"\0" + VECTOR.tobytes(), np.uint8)[1:].view(np.int32)
    assert not packed.flags.aligned
    assert parameter_root(packed, MANIFEST) == parameter_root(VECTOR, MANIFEST)
    frozen = VECTOR.copy()
    frozen.flags.writeable = False
    assert parameter_root(frozen, MANIFEST) == parameter_root(VECTOR, MANIFEST)


def test_root_binds_manifest_and_dimension():
    layout = TreeLayout.of(MANIFEST)
    padded = np.append(VECTOR, [0]).astype(np.int32)  # the same chunks, one value more
    longer = replace(layout, dimension=11)
    other = replace(layout, manifest_digest=bytes(32))
    roots = {
        parameter_root(VECTOR, layout),
        parameter_root(padded, longer),
        parameter_root(VECTOR, other),
    }
    assert len(roots) == 3


def test_every_chunk_proves_and_gives_its_values():
    tree = ParameterTree(VECTOR, MANIFEST)
    found = [verify_chunk(tree.root, MANIFEST, tree.proof(i)) for i in range(3)]
    assert np.concatenate(found).tolist() == [*VECTOR.tolist(), 0, 0]
    assert found[0].dtype == np.int32
    with pytest.raises(VerificationError, match="leaf 3, expected 0 to 2"):
        tree.proof(3)


def test_a_chunk_proof_is_bound_to_everything():
    tree = ParameterTree(VECTOR, MANIFEST)
    layout, good = tree.layout, tree.proof(1)
    refused = [
        (tree.root, layout, replace(good, index=0)),
        (tree.root, layout, replace(good, index=3)),
        (tree.root, layout, replace(good, chunk=good.chunk[:-1])),
        (tree.root, layout, replace(good, chunk=good.chunk[:-1] + b"\x08")),
        (tree.root, layout, replace(good, siblings=good.siblings[:1])),
        (tree.root, layout, replace(good, siblings=good.siblings[::-1])),
        (tree.root, replace(layout, dimension=9), good),
        (tree.root, replace(layout, manifest_digest=bytes(32)), good),
        (bytes(32), layout, good),
    ]
    verify_chunk(tree.root, layout, good)
    for root, bound, proof in refused:
        with pytest.raises(VerificationError):
            verify_chunk(root, bound, proof)


def test_padding_that_is_not_zero_is_refused():
    # a root over a dishonest last chunk: the hashes fit, the padding does not
    layout = TreeLayout(bytes(32), 4, 2)
    chunk = bytes.fromhex("00000001000000020000000300000000")
    top = hashlib.sha256(b"\0" + chunk).digest()
    root = hashlib.sha256(b"\2" + bytes(32) + top + (2).to_bytes(8, "big")).digest()
    with pytest.raises(VerificationError, match="padding that is not zero after 2 values"):
        verify_chunk(root, layout, ChunkProof(0, chunk, ()))


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (np.zeros(10, np.int64), "wrong-dtype"),
        (np.zeros(9, np.int32), "wrong-shape"),
        (np.zeros((10, 1), np.int32), "wrong-shape"),
        (np.zeros(20, np.int32)[::2], "wrong-shape"),
        (np.zeros(10, ">i4"), "wrong-dtype"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(vector, code):
    with pytest.raises(MalformedUpdateError) as caught:
        parameter_root(vector, MANIFEST)
    assert caught.value.code == code
