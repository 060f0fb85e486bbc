import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
from eth_abi import encode
from eth_utils import keccak

from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    contributors_tree,
    metrics_hash,
    reward_leaf_hash,
    rewards_tree,
    rule_hash,
    score_leaf_hash,
    scores_tree,
    signature_hash,
)
from coordinator.protocol.commitments.standard_tree import verify
from coordinator.protocol.errors import MalformedUpdateError, VerificationError
from coordinator.protocol.signatures.eip712 import (
    checksum_address,
    domain_separator,
    sealed_commitment,
)
from coordinator.protocol.types import ContributorLeaf, RewardLeaf, Rule, ScoreLeaf, SigningDomain

# in order of the 20 bytes, which is not the order of the checksummed text
WHO = [checksum_address(bytes([i]) * 20) for i in (0x0A, 0x0B, 0xA0, 0xF1)]
LEAF = ContributorLeaf(3, 0, WHO[0], b"\x01" * 32, 10, 77, 10**18, b"\x02" * 32)
RULE = Rule(1, 1, 2, 3, 4, 5, 6, b"\x07" * 32, 8, 9, 10, 11, 12, b"\x0d" * 32)


def contributor_leaves():
    return [replace(LEAF, index=i, contributor=who) for i, who in enumerate(WHO)]


def raw(address):
    return bytes.fromhex(address[2:])


def test_leaf_hashes_are_abi_encoded_and_hashed_twice():
    types = ["uint64", "uint32", "address", "bytes32", "uint64", "uint32", "uint256", "bytes32"]
    encoded = encode(types, [getattr(LEAF, f.name) for f in fields(LEAF)])
    assert contributor_leaf_hash(LEAF) == keccak(keccak(encoded))
    score = ScoreLeaf(2**64 - 1, WHO[3], 5)
    encoded = encode(["uint64", "address", "uint64"], [2**64 - 1, WHO[3], 5])
    assert score_leaf_hash(score) == keccak(keccak(encoded))
    reward = RewardLeaf(WHO[3], 2**256 - 1)
    encoded = encode(["address", "uint256"], [WHO[3], 2**256 - 1])
    assert reward_leaf_hash(reward) == keccak(keccak(encoded))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("round_id", 2**64),
        ("index", 2**32),
        ("contributor", "0x00"),
        ("update_root", b"\x01" * 31),
        ("examples", -1),
        ("weight", 2**32),
        ("stake_wei", 2**256),
        ("signature_hash", b""),
    ],
)
def test_leaf_fields_that_do_not_fit_are_refused(field, value):
    with pytest.raises(VerificationError):
        contributor_leaf_hash(replace(LEAF, **{field: value}))


def test_every_field_changes_the_leaf():
    other = {
        "round_id": 4,
        "index": 1,
        "contributor": WHO[1],
        "update_root": bytes(32),
        "examples": 11,
        "weight": 78,
        "stake_wei": 0,
        "signature_hash": bytes(32),
    }
    hashes = {contributor_leaf_hash(replace(LEAF, **{k: v})) for k, v in other.items()}
    assert len(hashes | {contributor_leaf_hash(LEAF)}) == 9


def test_contributors_tree_proves_every_leaf():
    leaves = contributor_leaves()
    tree = contributors_tree(leaves)
    for index, leaf in enumerate(leaves):
        verify(tree.root, contributor_leaf_hash(leaf), tree.proof(index))


def test_contributors_tree_refuses_disorder():
    leaves = contributor_leaves()
    swapped = [replace(leaves[1], index=0), replace(leaves[0], index=1)]
    twice = [leaves[0], replace(leaves[0], index=1)]
    for bad, words in [
        ([], "no leaves"),
        (swapped, "expected each address once, in ascending order"),
        (twice, "appears twice"),
        ([leaves[0], leaves[2]], "has index 2, expected 1"),
        ([leaves[0], replace(leaves[1], round_id=4)], "is of round 4, expected 3"),
    ]:
        with pytest.raises(VerificationError, match=words):
            contributors_tree(bad)


def test_scores_tree():
    leaves = [ScoreLeaf(3, who, i) for i, who in enumerate(WHO)]
    tree = scores_tree(leaves)
    verify(tree.root, score_leaf_hash(leaves[2]), tree.proof(2))
    for bad in ([], leaves[::-1], [leaves[0], ScoreLeaf(4, WHO[1], 1)]):
        with pytest.raises(VerificationError):
            scores_tree(bad)


def test_rewards_tree_may_be_empty_and_is_in_order_of_joining():
    leaves = [RewardLeaf(who, 10**18 + i) for i, who in enumerate(WHO)]
    tree = rewards_tree(leaves)
    verify(tree.root, reward_leaf_hash(leaves[1]), tree.proof(1))
    assert rewards_tree([]).root == bytes(32)
    assert rewards_tree(leaves[1:] + leaves[:1]).root != tree.root
    with pytest.raises(VerificationError, match="appears twice"):
        rewards_tree([leaves[0], leaves[1], leaves[0]])


def test_order_is_by_bytes_and_not_by_text():
    lower, upper = checksum_address(bytes(19) + b"\x0b"), checksum_address(bytes(19) + b"\x0c")
    assert raw(lower) < raw(upper)
    assert lower > upper  # the checksum makes one a small letter and the other a capital
    scores_tree([ScoreLeaf(3, lower, 1), ScoreLeaf(3, upper, 1)])
    with pytest.raises(VerificationError):
        scores_tree([ScoreLeaf(3, upper, 1), ScoreLeaf(3, lower, 1)])


def test_rule_hash_is_the_abi_encoded_tuple():
    types = [
        "uint16",
        "uint256",
        "uint8",
        "uint32",
        "uint64",
        "uint32",
        "uint32",
        "bytes32",
        "uint64",
        "uint32",
        "uint8",
        "uint32",
        "uint64",
        "bytes32",
    ]
    assert rule_hash(RULE) == keccak(encode(types, [getattr(RULE, f.name) for f in fields(RULE)]))


def test_every_field_changes_the_rule_hash():
    changed = set()
    for field in fields(RULE):
        value = getattr(RULE, field.name)
        other = bytes(32) if isinstance(value, bytes) else value + 100
        changed.add(rule_hash(replace(RULE, **{field.name: other})))
    assert len(changed | {rule_hash(RULE)}) == 15


def test_rule_fields_that_do_not_fit_are_refused():
    with pytest.raises(VerificationError, match="rule weighting is 256, expected a uint8"):
        rule_hash(replace(RULE, weighting=256))
    with pytest.raises(VerificationError, match=r"rule kind is .*, expected a uint256"):
        rule_hash(replace(RULE, kind=2**256))


def test_signature_hash_binds_metrics_and_signature():
    metrics, signature = b"\x05" * 32, b"\x06" * 65
    assert signature_hash(metrics, signature) == keccak(metrics + signature)
    for bad in ((metrics[:31], signature), (metrics, signature[:64])):
        with pytest.raises(VerificationError):
            signature_hash(*bad)


def test_sealed_commitment():
    domain = SigningDomain(5, WHO[0])
    types = ["bytes32", "uint64", "address", "bytes32", "bytes32"]
    values = [domain_separator(domain), 9, WHO[1], b"\x08" * 32, b"\x09" * 32]
    expected = keccak(encode(types, values))
    assert sealed_commitment(domain, 9, WHO[1], b"\x08" * 32, b"\x09" * 32) == expected
    assert sealed_commitment(domain, 9, WHO[2], b"\x08" * 32, b"\x09" * 32) != expected
    with pytest.raises(VerificationError, match="salt has 31 bytes"):
        sealed_commitment(domain, 9, WHO[1], b"\x08" * 31, b"\x09" * 32)


def test_metrics_hash():
    text = b'{"accuracy":0.5,"loss":1e-07,"note":"\\u00fc"}'
    assert metrics_hash({"note": "ü", "loss": 1e-7, "accuracy": 0.5}) == (
        hashlib.sha256(text).digest()
    )
    for bad in (float("nan"), np.float32(1.0), b"x"):
        with pytest.raises(MalformedUpdateError) as caught:
            metrics_hash({"loss": bad})
        assert caught.value.code == "bad-metrics"
        assert "$.loss" in str(caught.value)
