import pytest

from coordinator.protocol.abi import address_word, bytes32_word, uint_word
from coordinator.protocol.commitments.standard_tree import (
    EMPTY_ROOT,
    StandardTree,
    hash_pair,
    verify,
)
from coordinator.protocol.errors import VerificationError
from coordinator.protocol.keccak import keccak256

LEAVES = [keccak256(bytes([i])) for i in range(5)]


def test_five_leaves_by_hand():
    # tree[4..8] = leaves 4, 3, 2, 1, 0; parent of i is (i - 1) // 2
    node3 = hash_pair(LEAVES[1], LEAVES[0])
    node2 = hash_pair(LEAVES[3], LEAVES[2])
    node1 = hash_pair(node3, LEAVES[4])
    tree = StandardTree(LEAVES)
    assert tree.root == hash_pair(node1, node2)
    assert tree.proof(4) == (node3, node2)
    assert tree.proof(0) == (LEAVES[1], LEAVES[4], node2)
    assert len(tree) == 5


def test_pairs_are_sorted():
    assert hash_pair(LEAVES[0], LEAVES[1]) == hash_pair(LEAVES[1], LEAVES[0])
    low, high = sorted(LEAVES[:2])
    assert hash_pair(high, low) == keccak256(low + high)


def test_one_leaf_is_its_own_root():
    tree = StandardTree(LEAVES[:1])
    assert (tree.root, tree.proof(0)) == (LEAVES[0], ())
    verify(tree.root, LEAVES[0], ())


def test_without_leaves_nothing_can_be_proven():
    tree = StandardTree([])
    assert tree.root == EMPTY_ROOT == bytes(32)
    with pytest.raises(VerificationError):
        tree.proof(0)
    with pytest.raises(VerificationError):
        verify(EMPTY_ROOT, bytes(32), ())


@pytest.mark.parametrize("size", range(1, 6))
def test_every_leaf_proves_and_no_other_does(size):
    tree = StandardTree(LEAVES[:size])
    for index in range(size):
        verify(tree.root, LEAVES[index], tree.proof(index))
        stranger = keccak256(b"stranger")
        with pytest.raises(VerificationError, match="proof leads to"):
            verify(tree.root, stranger, tree.proof(index))


def test_altered_proofs_are_refused():
    tree = StandardTree(LEAVES)
    good = tree.proof(0)
    for proof in (good[:-1], (*good, good[0]), good[::-1], (bytes(32), *good[1:])):
        with pytest.raises(VerificationError):
            verify(tree.root, LEAVES[0], proof)
    with pytest.raises(VerificationError, match="digest of 31 bytes"):
        verify(tree.root, LEAVES[0], (good[0][:31], *good[1:]))
    with pytest.raises(VerificationError, match="65 digests, expected at most 64"):
        verify(tree.root, LEAVES[0], (bytes(32),) * 65)


def test_leaves_out_of_range_or_shape_are_refused():
    with pytest.raises(VerificationError, match="leaf 5, expected 0 to 4"):
        StandardTree(LEAVES).proof(5)
    with pytest.raises(VerificationError, match="leaf 1 has 31 bytes"):
        StandardTree([LEAVES[0], LEAVES[1][:31]])


def test_abi_words():
    assert uint_word(258, 16, "x").hex() == "0" * 61 + "102"
    assert bytes32_word(LEAVES[0], "x") == LEAVES[0]
    assert address_word("0x" + "ab" * 20, "x").hex() == "0" * 24 + "ab" * 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: uint_word(65536, 16, "x"),
        lambda: uint_word(-1, 16, "x"),
        lambda: uint_word(True, 16, "x"),
        lambda: uint_word(1.0, 16, "x"),
        lambda: bytes32_word(b"", "x"),
        lambda: address_word("0x" + "ab" * 19, "x"),
        lambda: address_word("0x" + "zz" * 20, "x"),
        lambda: address_word("1x" + "ab" * 20, "x"),
        lambda: address_word("", "x"),
    ],
)
def test_values_without_an_abi_word_are_refused(make):
    with pytest.raises(VerificationError, match=r"^x (is|has)"):
        make()
