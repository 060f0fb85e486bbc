"""The leaves, trees and digests that a round commits to on chain (PROTOCOL §3 and §4).

A leaf is ``keccak256(keccak256(abi.encode(...)))``: hashed twice, so that no inner node can pass
for a leaf. Not handled: the parameter tree (``parameter_tree``) and the contracts' own storage.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from coordinator.protocol.abi import address_word, bytes32_word, uint_word
from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.errors import ConfigError, MalformedUpdateError, VerificationError
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.types import (
    SIGNATURE_BYTES,
    Address,
    CommitmentLeaf,
    ContributorEntry,
    ContributorLeaf,
    RewardLeaf,
    Rule,
    ScoreLeaf,
    Signed,
    UpdateMessage,
)

__all__ = [
    "canonical_json",
    "commitment_leaf_hash",
    "commitments_tree",
    "contributor_leaf_hash",
    "contributors_tree",
    "metrics_hash",
    "reward_leaf_hash",
    "rewards_tree",
    "rule_hash",
    "score_leaf_hash",
    "scores_tree",
    "signature_hash",
    "signed_update",
]


def _leaf_hash(encoded: bytes) -> bytes:
    return keccak256(keccak256(encoded))


def contributor_leaf_hash(leaf: ContributorLeaf) -> bytes:
    """Hash ``(uint64, uint32, address, bytes32, uint64, uint32, uint256, bytes32)``.

    The fields are those of :class:`ContributorLeaf`, in their order.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return _leaf_hash(
        uint_word(leaf.round_id, 64, "round")
        + uint_word(leaf.index, 32, "index")
        + address_word(leaf.contributor, "contributor")
        + bytes32_word(leaf.update_root, "update root")
        + uint_word(leaf.examples, 64, "examples")
        + uint_word(leaf.weight, 32, "weight")
        + uint_word(leaf.stake_wei, 256, "stake")
        + bytes32_word(leaf.signature_hash, "signature hash")
    )


def commitment_leaf_hash(leaf: CommitmentLeaf) -> bytes:
    """Hash ``(uint64 round, address contributor, bytes32 commitment)``.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return _leaf_hash(
        uint_word(leaf.round_id, 64, "round")
        + address_word(leaf.contributor, "contributor")
        + bytes32_word(leaf.commitment, "commitment")
    )


def score_leaf_hash(leaf: ScoreLeaf) -> bytes:
    """Hash ``(uint64 round, address contributor, uint64 score)``.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return _leaf_hash(
        uint_word(leaf.round_id, 64, "round")
        + address_word(leaf.contributor, "contributor")
        + uint_word(leaf.score, 64, "score")
    )


def reward_leaf_hash(leaf: RewardLeaf) -> bytes:
    """Hash ``(address contributor, uint256 cumulative_wei)``.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return _leaf_hash(
        address_word(leaf.contributor, "contributor")
        + uint_word(leaf.cumulative_wei, 256, "cumulative wei")
    )


def contributors_tree(leaves: Sequence[ContributorLeaf]) -> StandardTree:
    """Return the tree over a round's accepted contributors.

    Raises
    ------
    VerificationError
        If there is no leaf, the leaves are not in order of address without repeats, their indices
        are not 0 to n - 1, or they are of several rounds.
    """
    if not leaves:
        raise VerificationError("contributors tree: no leaves, expected at least one")
    _check_order("contributors", [leaf.contributor for leaf in leaves])
    _check_one_round("contributors", leaves)
    for expected, leaf in enumerate(leaves):
        if leaf.index != expected:
            raise VerificationError(
                f"contributors tree: {leaf.contributor} has index {leaf.index}, expected {expected}"
            )
    return StandardTree([contributor_leaf_hash(leaf) for leaf in leaves])


def commitments_tree(leaves: Sequence[CommitmentLeaf]) -> StandardTree:
    """Return the tree over the commitments made before a sealed round's uploads begin.

    Raises
    ------
    VerificationError
        If there is no leaf, the leaves are not in order of address without repeats, or they are of
        several rounds.
    """
    if not leaves:
        raise VerificationError("commitments tree: no leaves, expected at least one")
    _check_order("commitments", [leaf.contributor for leaf in leaves])
    _check_one_round("commitments", leaves)
    return StandardTree([commitment_leaf_hash(leaf) for leaf in leaves])


def scores_tree(leaves: Sequence[ScoreLeaf]) -> StandardTree:
    """Return the tree over a round's scores, one leaf per contributor.

    Raises
    ------
    VerificationError
        If there is no leaf, the leaves are not in order of address without repeats, or they are of
        several rounds.
    """
    if not leaves:
        raise VerificationError("scores tree: no leaves, expected at least one")
    _check_order("scores", [leaf.contributor for leaf in leaves])
    _check_one_round("scores", leaves)
    return StandardTree([score_leaf_hash(leaf) for leaf in leaves])


def rewards_tree(leaves: Sequence[RewardLeaf]) -> StandardTree:
    """Return the tree over the members' cumulative rewards; without members its root is zero.

    The leaves are in order of joining, not of address: the contract knows a member's place in that
    order, and so the depth that its leaf must have, which makes a hidden leaf provable (ADR 77).

    Raises
    ------
    VerificationError
        If a member appears twice.
    """
    _check_once([leaf.contributor for leaf in leaves])
    return StandardTree([reward_leaf_hash(leaf) for leaf in leaves])


def signature_hash(metrics_digest: bytes, signature: bytes) -> bytes:
    """Return ``keccak256(metrics hash | signature)`` as committed in a contributor's leaf.

    The metrics hash is included so that the leaf fixes everything that was signed: given the leaf,
    the metrics hash and the signature, a contract can check the signature, and nobody can make a
    valid one look invalid (ADR 35).

    Raises
    ------
    VerificationError
        If the metrics hash is not 32 bytes or the signature not 65.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise VerificationError(f"signature has {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    return keccak256(bytes32_word(metrics_digest, "metrics hash") + bytes(signature))


def rule_hash(rule: Rule) -> bytes:
    """Return ``keccak256(abi.encode(tuple))`` of the rule's fields, in their order.

    A static ABI tuple and not JSON, because the referee must read the rule (ADR 36).

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return keccak256(
        uint_word(rule.version, 16, "rule version")
        + uint_word(rule.kind, 256, "rule kind")
        + uint_word(rule.weighting, 8, "rule weighting")
        + uint_word(rule.num_byzantine, 32, "rule num_byzantine")
        + uint_word(rule.examples_cap, 64, "rule examples_cap")
        + uint_word(rule.server_lr_q16, 32, "rule server_lr_q16")
        + uint_word(rule.server_momentum_q16, 32, "rule server_momentum_q16")
        + bytes32_word(rule.manifest_hash, "rule manifest_hash")
        + uint_word(rule.dimension, 64, "rule dimension")
        + uint_word(rule.chunk_values, 32, "rule chunk_values")
        + uint_word(rule.scale_bits, 8, "rule scale_bits")
        + uint_word(rule.min_contributors, 32, "rule min_contributors")
        + uint_word(rule.norm_bound_q, 64, "rule norm_bound_q")
        + bytes32_word(rule.scoring_hash, "rule scoring_hash")
    )


def metrics_hash(metrics: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the canonical JSON of a contributor's metrics.

    Raises
    ------
    MalformedUpdateError
        ``bad-metrics`` if they have no canonical JSON (a NaN, a NumPy value, ...).
    """
    try:
        return hashlib.sha256(canonical_json(dict(metrics))).digest()
    except ConfigError as error:
        raise MalformedUpdateError(
            f"metrics: {error}", code="bad-metrics", expected="canonical JSON"
        ) from error


def signed_update(entry: ContributorEntry, base_model: bytes) -> Signed[UpdateMessage]:
    """Return the statement that a contributor signed, given the root of the round's base model."""
    message = UpdateMessage(
        round_id=entry.leaf.round_id,
        base_model=base_model,
        update=entry.leaf.update_root,
        examples=entry.leaf.examples,
        metrics_hash=metrics_hash(entry.metrics),
    )
    return Signed(entry.leaf.contributor, message, entry.signature)


def _check_once(members: Sequence[Address]) -> None:
    seen: set[bytes] = set()
    for member in members:
        word = address_word(member, "member")
        if word in seen:
            raise VerificationError(f"rewards tree: {member} appears twice, expected once")
        seen.add(word)


def _check_order(tree: str, addresses: Iterable[Address]) -> None:
    for earlier, later in pairwise(addresses):
        if address_word(earlier, "contributor") >= address_word(later, "contributor"):
            problem = "appears twice" if earlier == later else f"comes after {earlier}"
            raise VerificationError(
                f"{tree} tree: {later} {problem}, expected each address once, in ascending order"
            )


def _check_one_round(
    tree: str, leaves: Sequence[ContributorLeaf] | Sequence[ScoreLeaf] | Sequence[CommitmentLeaf]
) -> None:
    expected = leaves[0].round_id
    for leaf in leaves:
        if leaf.round_id != expected:
            raise VerificationError(
                f"{tree} tree: {leaf.contributor} is of round {leaf.round_id}, expected {expected}"
            )
