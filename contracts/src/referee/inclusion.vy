# pragma version 0.4.3
# pragma evm-version prague
"""
@title Inclusion
@license Apache-2.0
@notice Audit paths of RFC 6962 trees over SHA-256: chunks of parameter vectors, and the entries of a
        column. Index and size come from what is committed, so a path proves a position.
@dev A leaf is hashed behind a zero byte, a node behind a one, a vector's root behind a two: none
     can be passed off as another.
"""

MAX_PATH: constant(uint256) = 48
MAX_CHUNK_BYTES: constant(uint256) = 4096


@internal
@pure
def _node(left: bytes32, right: bytes32) -> bytes32:
    return sha256(concat(0x01, left, right))


@internal
@pure
def _pair(one: bytes32, other: bytes32) -> bytes32:
    """
    @dev A node of the keccak trees, whose pairs are sorted: see the module merkle.
    """
    if convert(one, uint256) < convert(other, uint256):
        return keccak256(concat(one, other))
    return keccak256(concat(other, one))


@internal
@pure
def _siblings(index: uint256, size: uint256) -> uint256:
    """
    @dev How many siblings the path of a leaf has; a last node without a partner moves up as it is.
    """
    count: uint256 = 0
    place: uint256 = index
    width: uint256 = size
    for _: uint256 in range(MAX_PATH):
        if width <= 1:
            break
        if place ^ 1 < width:
            count += 1
        place //= 2
        width = (width + 1) // 2
    return count


@internal
@pure
def _root(
    leaf: bytes32, index: uint256, size: uint256, path: DynArray[bytes32, MAX_PATH]
) -> bytes32:
    assert index < size, "dispute: index out of range"
    node: bytes32 = leaf
    place: uint256 = index
    width: uint256 = size
    used: uint256 = 0
    for _: uint256 in range(MAX_PATH):
        if width <= 1:
            break
        if place ^ 1 < width:
            assert used < len(path), "dispute: proof too short"
            if place % 2 == 1:
                node = self._node(path[used], node)
            else:
                node = self._node(node, path[used])
            used += 1
        place //= 2
        width = (width + 1) // 2
    assert used == len(path), "dispute: proof too long"
    return node


@internal
@pure
def _bound(manifest_hash: bytes32, tree_root: bytes32, dimension: uint256) -> bytes32:
    return sha256(
        concat(0x02, manifest_hash, tree_root, convert(convert(dimension, uint64), bytes8))
    )


@internal
@pure
def _require_entry(
    root: bytes32,
    entry: int256[5],
    index: uint256,
    size: uint256,
    path: DynArray[bytes32, MAX_PATH],
):
    leaf: bytes32 = sha256(concat(0x00, abi_encode(entry)))
    assert self._root(leaf, index, size, path) == root, "dispute: no such entry"
