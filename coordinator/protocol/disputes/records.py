"""A disputed round: the chain's record of it, and the artifacts that were published.

An artifact that is not available, or does not hash to its committed root, is ``None``. Not handled:
fetching (a watcher does) and judging (``faults``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    metrics_hash,
    reward_leaf_hash,
    score_leaf_hash,
)
from coordinator.protocol.commitments.parameter_tree import ParameterTree, TreeLayout
from coordinator.protocol.commitments.standard_tree import StandardTree, depth_of
from coordinator.protocol.disputes.cases import CaseKind, Proof, score_words
from coordinator.protocol.round.chain_round import NO_ROOT, ChainRound
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    RewardLeaf,
    Rule,
    ScoreLeaf,
    SigningDomain,
    Wei,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShownTree:
    """A tree known by its root, and by leaves published one by one with their proofs."""

    root: bytes
    proofs: Sequence[Proof]

    def proof(self, index: int) -> Proof:
        """Return the siblings of a leaf, given its position among the published ones."""
        return self.proofs[index]


@dataclass(frozen=True)
class DisputedRound:
    """A round with all the data for judging it.

    Attributes
    ----------
    committed
        The round as the contract stores it, sealed or settled.
    parent
        The round it builds on; ``None`` for the first.
    domain, min_stake_wei
        The federation's signing domain and smallest bond.
    members
        Every member in order of joining; at least the first ``committed.member_count``.
    bonds
        Bonds in wei when the round opened; an absent address had none.
    rule, entries, base_model, new_model, scores, rewards, parent_rewards
        As published; leaves in the order of their tree. Vectors of shape ``(d,)``, int32.
    updates
        One per contributor, in leaf order; ``None`` for one that is not available.
    leaf_proofs
        Inclusion proofs of the contributors by index, if their tree lacks the standard shape.
    score_proofs, reward_proofs, parent_reward_proofs
        The same for scores and rewards, in the order of the published records.
    metrics_hashes
        The signed metrics hashes, in leaf order, if the metrics themselves are not known.
    """

    committed: ChainRound
    parent: ChainRound | None
    domain: SigningDomain
    min_stake_wei: Wei
    members: Sequence[Address]
    bonds: Mapping[Address, Wei]
    rule: Rule | None
    entries: Sequence[ContributorEntry] | None
    updates: Sequence[Int32Vector | None] | None
    base_model: Int32Vector | None
    new_model: Int32Vector | None
    scores: Sequence[ScoreLeaf] | None = None
    rewards: Sequence[RewardLeaf] | None = None
    parent_rewards: Sequence[RewardLeaf] | None = None
    leaf_proofs: Mapping[int, Proof] | None = None
    score_proofs: Sequence[Proof] | None = None
    reward_proofs: Sequence[Proof] | None = None
    parent_reward_proofs: Sequence[Proof] | None = None
    metrics_hashes: Sequence[bytes] | None = None

    # Parts that must be known -----------------------------------------------------------------

    @property
    def known_rule(self) -> Rule:
        """The published rule.

        Raises
        ------
        ValueError
            If it is not known, as the following properties and methods do.
        """
        return _known(self.rule, "rule")

    @property
    def known_entries(self) -> Sequence[ContributorEntry]:
        """The published contributors."""
        return _known(self.entries, "contributors")

    @property
    def known_scores(self) -> Sequence[ScoreLeaf]:
        """The published scores."""
        return _known(self.scores, "scores")

    @property
    def known_rewards(self) -> Sequence[RewardLeaf]:
        """The published rewards."""
        return _known(self.rewards, "rewards")

    def update(self, index: int) -> Int32Vector:
        """Return the published update of a contributor."""
        return _known(_known(self.updates, "updates")[index], f"update {index}")

    def model(self, kind: CaseKind) -> Int32Vector:
        """Return the published base or new model."""
        vector = self.base_model if kind is CaseKind.BASE_MODEL else self.new_model
        return _known(vector, kind.name.lower().replace("_", " "))

    @property
    def parent_member_count(self) -> int:
        """Number of members when the parent opened, 0 without a parent."""
        return self.parent.member_count if self.parent else 0

    @property
    def parent_rewards_root(self) -> bytes:
        """Root of the parent's rewards, 32 zero bytes without a parent."""
        return self.parent.rewards_root if self.parent else NO_ROOT

    # Trees ------------------------------------------------------------------------------------

    @property
    def layout(self) -> TreeLayout:
        """The layout of the round's vectors in chunks."""
        rule = self.known_rule
        return TreeLayout(rule.manifest_hash, rule.chunk_values, rule.dimension)

    @cached_property
    def contributors(self) -> StandardTree:
        """The tree over the published contributors, in the order published."""
        hashes = [contributor_leaf_hash(entry.leaf) for entry in self.known_entries]
        return StandardTree(hashes)

    @cached_property
    def scores_tree(self) -> StandardTree | ShownTree:
        """The tree over the published scores."""
        if self.score_proofs is not None:
            return ShownTree(self.committed.scores_root, self.score_proofs)
        return StandardTree([score_leaf_hash(leaf) for leaf in self.known_scores])

    @cached_property
    def rewards_tree(self) -> StandardTree | ShownTree:
        """The tree over the published rewards."""
        if self.reward_proofs is not None:
            return ShownTree(self.committed.rewards_root, self.reward_proofs)
        return StandardTree([reward_leaf_hash(leaf) for leaf in self.known_rewards])

    @cached_property
    def parent_rewards_tree(self) -> StandardTree | ShownTree:
        """The tree over the parent's published rewards."""
        if self.parent_reward_proofs is not None:
            return ShownTree(self.parent_rewards_root, self.parent_reward_proofs)
        leaves = _known(self.parent_rewards, "parent's rewards")
        return StandardTree([reward_leaf_hash(leaf) for leaf in leaves])

    @cached_property
    def _vector_trees(self) -> dict[bytes, ParameterTree]:
        return {}

    def vector_tree(self, root: bytes, vector: Int32Vector) -> ParameterTree:
        """Return a vector's tree; cached, because it takes a pass over the vector."""
        if root not in self._vector_trees:
            self._vector_trees[root] = ParameterTree(vector, self.layout)
        return self._vector_trees[root]

    def leaf_proof(self, position: int) -> Proof:
        """Return the inclusion proof of the published contributor at a position."""
        if self.leaf_proofs is not None:
            return self.leaf_proofs[position]
        return self.contributors.proof(position)

    def metrics_hash(self, position: int) -> bytes:
        """Return the metrics hash that a contributor signed."""
        if self.metrics_hashes is not None:
            return self.metrics_hashes[position]
        return metrics_hash(self.known_entries[position].metrics)

    @cached_property
    def member_set(self) -> frozenset[Address]:
        """Members when the round opened."""
        return frozenset(self.members[: self.committed.member_count])

    @cached_property
    def parent_member_set(self) -> frozenset[Address]:
        """Members when the parent opened."""
        return frozenset(self.members[: self.parent_member_count])


def _known(value: _T | None, name: str) -> _T:
    if value is None:
        raise ValueError(f"disputed round: the {name} is not known")
    return value


def score_and_proof(round_: DisputedRound, contributor: Address) -> tuple[tuple[Any, ...], Proof]:
    """Return a contributor's published score and its proof.

    Raises
    ------
    ValueError
        If the contributor has no score.
    """
    at = position_of(round_.known_scores, contributor)
    return score_words(round_.known_scores[at]), round_.scores_tree.proof(at)


def position_of(leaves: Sequence[Any], contributor: Address) -> int:
    """Return the first position of an account's leaf.

    Raises
    ------
    ValueError
        If the account has no leaf.
    """
    return [leaf.contributor for leaf in leaves].index(contributor)


def reward_positions(round_: DisputedRound) -> dict[int, int]:
    """Return the positions of the leaves of the right depth, by number of member (from 1).

    Pairs are sorted before they are hashed, so a proof does not say whether a leaf is left or
    right; its length is the leaf's depth. If each member's leaf has the depth of its place in the
    order of joining, the tree is full (Kraft's inequality, 1949) and has no hidden leaf (ADR 77). A
    member that is absent here has no valid leaf, and the coordinator cannot answer a demand for it.
    """
    count, leaves = round_.committed.member_count, round_.known_rewards
    numbers = {member: number for number, member in enumerate(round_.members[:count], 1)}
    positions: dict[int, int] = {}
    for at, leaf in enumerate(leaves):
        number = numbers.get(leaf.contributor)
        if number and depth_of(at, len(leaves)) == depth_of(number - 1, count):
            positions.setdefault(number, at)
    return positions
