# pragma version 0.4.3
"""
@title Merkle
@license Apache-2.0
@notice Inclusion proofs in OpenZeppelin's StandardMerkleTree form: keccak, pairs sorted.
@dev A leaf is the keccak of a 32-byte digest and a node the keccak of 64 bytes, so neither can
     be passed off as the other.
"""

MAX_DEPTH: constant(uint256) = 32


@internal
@pure
def _leaf(encoded: Bytes[64]) -> bytes32:
    return keccak256(keccak256(encoded))


@internal
@pure
def _includes(root: bytes32, leaf: bytes32, proof: DynArray[bytes32, MAX_DEPTH]) -> bool:
    node: bytes32 = leaf
    for sibling: bytes32 in proof:
        if convert(node, uint256) < convert(sibling, uint256):
            node = keccak256(concat(node, sibling))
        else:
            node = keccak256(concat(sibling, node))
    return node == root
