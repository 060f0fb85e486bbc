import hashlib

import pytest

from coordinator.protocol.commitments.merkle import (
    inclusion_proof,
    leaf_hash,
    merkle_root,
    node_hash,
    verify_inclusion,
)
from coordinator.protocol.errors import VerificationError

LEAVES = [bytes([i]) * i for i in range(7)]


def by_definition(leaves):
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


@pytest.mark.parametrize("size", range(8))
def test_root_is_the_rfc_definition(size):
    assert merkle_root(LEAVES[:size]) == by_definition(LEAVES[:size])


def test_a_proof_of_seven_leaves_by_hand():
    # 7 = 4 + 3: leaf 6 stands alone below the right half
    left = by_definition(LEAVES[:4])
    middle = node_hash(leaf_hash(LEAVES[4]), leaf_hash(LEAVES[5]))
    assert inclusion_proof(LEAVES, 6) == (middle, left)
    assert inclusion_proof(LEAVES, 0) == (
        leaf_hash(LEAVES[1]),
        node_hash(leaf_hash(LEAVES[2]), leaf_hash(LEAVES[3])),
        node_hash(middle, leaf_hash(LEAVES[6])),
    )


@pytest.mark.parametrize("size", range(1, 8))
def test_every_leaf_proves(size):
    leaves = LEAVES[:size]
    for index in range(size):
        proof = inclusion_proof(leaves, index)
        verify_inclusion(merkle_root(leaves), leaves[index], index, size, proof)


def test_a_proof_is_bound_to_leaf_index_size_and_length():
    root, proof = merkle_root(LEAVES), inclusion_proof(LEAVES, 5)
    refused = [
        (LEAVES[4], 5, 7, proof),
        (LEAVES[5], 4, 7, proof),
        (LEAVES[5], 5, 9, proof),
        (LEAVES[5], 5, 6, proof),
        (LEAVES[5], 5, 7, proof[:-1]),
        (LEAVES[5], 5, 7, (*proof, proof[0])),
        (LEAVES[5], 5, 7, proof[::-1]),
        (LEAVES[5], 5, 7, (proof[0][:31], *proof[1:])),
        (LEAVES[5], 7, 7, proof),
        (LEAVES[5], -1, 7, proof),
        (LEAVES[5], 0, 0, ()),
    ]
    verify_inclusion(root, LEAVES[5], 5, 7, proof)
    for leaf, index, size, siblings in refused:
        with pytest.raises(VerificationError):
            verify_inclusion(root, leaf, index, size, siblings)


def test_an_inner_node_is_no_leaf():
    pair = leaf_hash(b"a") + leaf_hash(b"b")
    root = merkle_root([b"a", b"b"])
    with pytest.raises(VerificationError):
        verify_inclusion(root, pair, 0, 1, ())


def test_proof_of_a_missing_leaf_is_refused():
    with pytest.raises(VerificationError, match="leaf 7, expected 0 to 6"):
        inclusion_proof(LEAVES, 7)
