"""Binary Merkle trees over byte strings as in RFC 6962 (and RFC 9162), SHA-256.

Leaf ``SHA256(0x00 | data)``, node ``SHA256(0x01 | left | right)``; a tree of *n* leaves splits at
the largest power of two smaller than *n*, so a last node without a partner moves up unchanged.
Not handled: the fast tree over a parameter vector (``parameter_tree``, same digests) and the
Keccak trees the contracts read (``standard_tree``).
"""

import hashlib
from collections.abc import Sequence

from coordinator.protocol.errors import VerificationError

DIGEST_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """Return ``SHA256(0x00 | data)``."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return ``SHA256(0x01 | left | right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf data; ``SHA256("")`` for no leaves, as in the RFC.

    Examples
    --------
    >>> merkle_root([b"a"]) == leaf_hash(b"a")
    True
    >>> merkle_root([b"a", b"b", b"c"]) == node_hash(merkle_root([b"a", b"b"]), leaf_hash(b"c"))
    True
    """
    if not leaves:
        return hashlib.sha256(b"").digest()
    return tree_levels([leaf_hash(leaf) for leaf in leaves])[-1][0]


def tree_levels(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Return every level of the tree over one or more leaf hashes, leaves first, root last."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(above) * 2 :])
    return levels


def path_positions(index: int, size: int) -> list[int | None]:
    """Return, level by level from the leaves, the sibling's position, or ``None`` without one.

    Raises
    ------
    VerificationError
        If ``index`` is not a leaf of a tree of ``size`` leaves.
    """
    if not 0 <= index < size:
        raise VerificationError(f"inclusion proof: leaf {index}, expected 0 to {size - 1}")
    positions: list[int | None] = []
    while size > 1:
        sibling = index ^ 1
        positions.append(sibling if sibling < size else None)
        index, size = index // 2, (size + 1) // 2
    return positions


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the sibling digests from leaf ``index`` to the root.

    Raises
    ------
    VerificationError
        If ``index`` is out of range.
    """
    positions = path_positions(index, len(leaves))
    levels = tree_levels([leaf_hash(leaf) for leaf in leaves])
    return tuple(
        levels[height][place] for height, place in enumerate(positions) if place is not None
    )


def root_from_proof(leaf: bytes, index: int, size: int, siblings: Sequence[bytes]) -> bytes:
    """Return the root computed from leaf data and its siblings.

    Raises
    ------
    VerificationError
        If the index is out of range, or the proof is too short, too long, or holds a sibling that
        is not 32 bytes.
    """
    positions = path_positions(index, size)
    needed = sum(place is not None for place in positions)
    if len(siblings) != needed:
        raise VerificationError(
            f"inclusion proof of leaf {index} of {size}: {len(siblings)} digests, expected {needed}"
        )
    if any(len(sibling) != DIGEST_BYTES for sibling in siblings):
        raise VerificationError(
            f"inclusion proof of leaf {index} of {size}: expected digests of {DIGEST_BYTES} bytes"
        )
    remaining = iter(siblings)
    digest = leaf_hash(leaf)
    for place in positions:
        if place is not None:
            pair = (digest, next(remaining))
            digest = node_hash(*pair) if place % 2 else node_hash(*reversed(pair))
    return digest


def verify_inclusion(
    root: bytes, leaf: bytes, index: int, size: int, siblings: Sequence[bytes]
) -> None:
    """Check that ``leaf`` is leaf ``index`` of the tree of ``size`` leaves with this root.

    ``index`` and ``size`` must come from the same source as the root, not from the prover.

    Raises
    ------
    VerificationError
        If the proof does not lead to the root.

    Examples
    --------
    >>> leaves = [b"a", b"b", b"c"]
    >>> verify_inclusion(merkle_root(leaves), b"c", 2, 3, inclusion_proof(leaves, 2))
    """
    computed = root_from_proof(leaf, index, size, siblings)
    if computed != root:
        raise VerificationError(
            f"inclusion proof of leaf {index} of {size} leads to {computed.hex()}, "
            f"expected {root.hex()}"
        )
