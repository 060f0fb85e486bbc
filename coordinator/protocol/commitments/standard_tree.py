"""Merkle trees in OpenZeppelin's standard form, leaves in the given order (``sortLeaves: false``).

One array of ``2 n - 1`` digests: the root at 0, the children of ``i`` at ``2 i + 1`` and
``2 i + 2``, leaf ``i`` at ``2 n - 2 - i``; a pair is sorted before it is hashed, so a proof is the
siblings alone. Not handled: what a leaf commits to (``digests``).

References
----------
The layout of the npm package ``@openzeppelin/merkle-tree`` 1.0, cross-checked in
``tests/vectors/openzeppelin.json``.
"""

from collections.abc import Sequence

from coordinator.protocol.errors import VerificationError
from coordinator.protocol.keccak import keccak256

EMPTY_ROOT = bytes(32)
"""Root of the tree without leaves: nothing can be proven against it."""

_MAX_PROOF = 64


def hash_pair(left: bytes, right: bytes) -> bytes:
    """Return Keccak-256 of two digests, the smaller first."""
    # Sorted pairs, so that OpenZeppelin's tools make and check the proofs; they prove membership,
    # not position (ADR 31).
    return keccak256(left + right if left < right else right + left)


class StandardTree:
    """All digests of a tree over leaf hashes, 32 bytes each.

    Raises
    ------
    VerificationError
        If a leaf hash is not 32 bytes.

    Examples
    --------
    >>> leaves = [keccak256(bytes([i])) for i in range(3)]
    >>> tree = StandardTree(leaves)
    >>> tree.root == hash_pair(hash_pair(leaves[0], leaves[1]), leaves[2])
    True
    >>> verify(tree.root, leaves[1], tree.proof(1))
    """

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        for index, leaf in enumerate(leaf_hashes):
            if len(leaf) != 32:
                raise VerificationError(f"leaf {index} has {len(leaf)} bytes, expected 32")
        self._size = len(leaf_hashes)
        inner = max(self._size - 1, 0)
        self._nodes = [EMPTY_ROOT] * inner + [bytes(leaf) for leaf in reversed(leaf_hashes)]
        for i in range(inner - 1, -1, -1):
            self._nodes[i] = hash_pair(self._nodes[2 * i + 1], self._nodes[2 * i + 2])

    def __len__(self) -> int:
        return self._size

    @property
    def root(self) -> bytes:
        """The root; :data:`EMPTY_ROOT` without leaves, the leaf itself with one."""
        return self._nodes[0] if self._nodes else EMPTY_ROOT

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings from leaf ``index`` upwards.

        Raises
        ------
        VerificationError
            If there is no such leaf.
        """
        if not 0 <= index < self._size:
            raise VerificationError(f"leaf {index}, expected 0 to {self._size - 1}")
        place = 2 * self._size - 2 - index
        siblings = []
        while place > 0:
            siblings.append(self._nodes[place + 1 if place % 2 else place - 1])
            place = (place - 1) // 2
        return tuple(siblings)


def depth_of(index: int, size: int) -> int:
    """Return the number of siblings in the proof of leaf ``index`` of ``size``.

    If each member's leaf has the depth of its place, the tree has room for no other leaf (ADR 77).

    Examples
    --------
    >>> [depth_of(i, 5) for i in range(5)]
    [3, 3, 2, 2, 2]
    """
    return (2 * size - 1 - index).bit_length() - 1


def root_from_proof(leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the root computed from a leaf hash and its siblings.

    Raises
    ------
    VerificationError
        If the proof is longer than 64 or a digest is not 32 bytes.
    """
    if len(proof) > _MAX_PROOF:
        raise VerificationError(f"proof of {len(proof)} digests, expected at most {_MAX_PROOF}")
    digest = leaf
    for sibling in proof:
        if len(sibling) != 32:
            raise VerificationError(f"proof holds a digest of {len(sibling)} bytes, expected 32")
        digest = hash_pair(digest, sibling)
    return digest


def verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> None:
    """Check that a leaf hash is in the tree with this root.

    Sorted pairs do not prove a position: leaves that need one contain their index.

    Raises
    ------
    VerificationError
        If the proof does not lead to the root, or the root is the empty tree's.
    """
    computed = root_from_proof(leaf, proof)
    if root == EMPTY_ROOT or computed != root:
        raise VerificationError(f"proof leads to {computed.hex()}, expected {root.hex()}")
