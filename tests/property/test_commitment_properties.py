"""Trees and signatures: every leaf proves, any changed byte does not."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    contributors_tree,
    reward_leaf_hash,
    rewards_tree,
)
from coordinator.protocol.commitments.merkle import inclusion_proof, merkle_root, verify_inclusion
from coordinator.protocol.commitments.parameter_tree import (
    ParameterTree,
    TreeLayout,
    parameter_root,
    verify_chunk,
)
from coordinator.protocol.commitments.standard_tree import depth_of, verify
from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.signatures.eip712 import (
    checksum_address,
    sign_statement,
    verify_statement,
)
from coordinator.protocol.types import (
    ContributorLeaf,
    RewardLeaf,
    SigningDomain,
    UpdateMessage,
    address_bytes,
)

digests = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(checksum_address)
uint64s = st.integers(0, 2**64 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)


def flip(data, draw):
    """Change one bit of some bytes."""
    place = draw(st.integers(0, len(data) - 1))
    bit = 1 << draw(st.integers(0, 7))
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=40), st.data())
def test_rfc_tree(leaves, data):
    root = merkle_root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    verify_inclusion(root, leaves[index], index, len(leaves), proof)
    if leaves[index]:
        altered = flip(leaves[index], data.draw)
        with pytest.raises(VerificationError):
            verify_inclusion(root, altered, index, len(leaves), proof)
    if proof:
        level = data.draw(st.integers(0, len(proof) - 1))
        bent = (*proof[:level], flip(proof[level], data.draw), *proof[level + 1 :])
        with pytest.raises(VerificationError):
            verify_inclusion(root, leaves[index], index, len(leaves), bent)


@given(
    hnp.arrays(np.int32, st.integers(1, 200), elements=int32s),
    st.integers(1, 40),
    digests,
    st.data(),
)
def test_parameter_tree(vector, chunk_values, manifest_digest, data):
    layout = TreeLayout(manifest_digest, chunk_values, vector.size)
    tree = ParameterTree(vector, layout)
    chunks = [verify_chunk(tree.root, layout, tree.proof(i)) for i in range(layout.chunk_count)]
    flat = np.concatenate(chunks)
    assert flat[: vector.size].tolist() == vector.tolist()
    assert not flat[vector.size :].any()

    proof = tree.proof(data.draw(st.integers(0, layout.chunk_count - 1)))
    with pytest.raises(VerificationError):
        verify_chunk(tree.root, layout, replace(proof, chunk=flip(proof.chunk, data.draw)))
    with pytest.raises(VerificationError):
        verify_chunk(flip(tree.root, data.draw), layout, proof)


@given(
    hnp.arrays(np.int32, st.integers(1, 100), elements=int32s),
    st.integers(1, 20),
    st.data(),
)
def test_any_changed_value_changes_the_root(vector, chunk_values, data):
    layout = TreeLayout(bytes(32), chunk_values, vector.size)
    root = parameter_root(vector, layout)
    assert parameter_root(vector.copy(), layout) == root
    place = data.draw(st.integers(0, vector.size - 1))
    other = vector.copy()
    other[place] ^= np.int32(1 << data.draw(st.integers(0, 30)))
    assert parameter_root(other, layout) != root


leaves_of_contributors = st.builds(
    ContributorLeaf,
    st.just(5),
    st.just(0),
    addresses,
    digests,
    uint64s,
    st.integers(0, 2**24),
    st.integers(0, 2**256 - 1),
    digests,
)


@given(
    st.lists(leaves_of_contributors, min_size=1, max_size=12, unique_by=lambda x: x.contributor),
    st.data(),
)
def test_contributors_tree(drawn, data):
    ordered = sorted(drawn, key=lambda leaf: address_bytes(leaf.contributor))
    leaves = [replace(leaf, index=i) for i, leaf in enumerate(ordered)]
    tree = contributors_tree(leaves)
    for index, leaf in enumerate(leaves):
        verify(tree.root, contributor_leaf_hash(leaf), tree.proof(index))
    index = data.draw(st.integers(0, len(leaves) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(ContributorLeaf)]))
    value = getattr(leaves[index], name)
    if name == "contributor":
        changed = checksum_address(flip(address_bytes(value), data.draw))
    elif isinstance(value, bytes):
        changed = flip(value, data.draw)
    else:
        changed = value ^ 1
    forged = contributor_leaf_hash(replace(leaves[index], **{name: changed}))
    for i in range(len(leaves)):
        with pytest.raises(VerificationError):
            verify(tree.root, forged, tree.proof(i))


@given(st.integers(1, 10_000))
def test_the_places_of_all_members_leave_no_room_for_another_leaf(members):
    """Kraft's sum is one: no leaf can be added to a binary tree with leaves that deep."""
    deepest = depth_of(0, members)
    assert sum(2 ** (deepest - depth_of(i, members)) for i in range(members)) == 2**deepest


@given(st.dictionaries(addresses, st.integers(0, 2**256 - 1), min_size=1, max_size=20))
def test_rewards_tree(amounts):
    leaves = [RewardLeaf(who, amounts[who]) for who in amounts]
    tree = rewards_tree(leaves)
    for index, leaf in enumerate(leaves):
        verify(tree.root, reward_leaf_hash(leaf), tree.proof(index))
        assert len(tree.proof(index)) == depth_of(index, len(leaves))
        other = reward_leaf_hash(replace(leaf, cumulative_wei=leaf.cumulative_wei ^ 1))
        with pytest.raises(VerificationError):
            verify(tree.root, other, tree.proof(index))


@given(
    st.builds(SigningDomain, st.integers(0, 2**256 - 1), addresses),
    st.builds(UpdateMessage, uint64s, digests, digests, uint64s, digests),
    st.integers(1, 2**255).map(lambda key: key.to_bytes(32, "big")),
    st.data(),
)
def test_signatures(domain, message, key, data):
    signed = sign_statement(domain, message, key)
    verify_statement(domain, signed)
    assert sign_statement(domain, message, key) == signed  # deterministic
    with pytest.raises(SignatureError):
        verify_statement(domain, replace(signed, signature=flip(signed.signature, data.draw)))
    name = data.draw(st.sampled_from([field.name for field in fields(UpdateMessage)]))
    value = getattr(message, name)
    other = flip(value, data.draw) if isinstance(value, bytes) else value ^ 1
    with pytest.raises(SignatureError):
        verify_statement(domain, replace(signed, statement=replace(message, **{name: other})))
