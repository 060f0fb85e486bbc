"""What a dispute is about: a round as the chain holds it, and what was published of it.

``None`` stands for what could not be got; a vector that does not hash to its committed root counts
as not got. Not handled: fetching (a watcher does) and judging (``faults``).
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
    """A tree of which leaves were shown one by one, each with its proof: only the root is known."""

    root: bytes
    proofs: Sequence[Proof]

    def proof(self, index: int) -> Proof:
        """Return the siblings of the leaf at a position of the shown ones."""
        return self.proofs[index]


@dataclass(frozen=True)
class DisputedRound:
    """A round with everything there is to judge it by.

    Attributes
    ----------
    committed
        The round as the contract stores it, sealed or settled.
    parent
        The round it stands on; ``None`` for the first.
    domain, min_stake_wei
        Of the federation.
    members
        Every member in order of joining; at least the first ``committed.member_count``.
    bonds
        Bonds when the round opened; an address that is absent had none.
    rule, entries, base_model, new_model, scores, rewards, parent_rewards
        As published; leaves in the order of their tree. Vectors of shape ``(d,)``, int32.
    updates
        One a contributor, in leaf order; ``None`` in place of one that could not be got.
    leaf_proofs
        Inclusion proofs of the contributors by index, where their tree has not the standard shape.
    score_proofs, reward_proofs, parent_reward_proofs
        The same of scores and rewards, in the order of what is published of them.
    metrics_hashes
        What contributors signed beside their updates, in leaf order, where only the hash is known.
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

    # Parts that must be there for what is asked ----------------------------------------------

    @property
    def known_rule(self) -> Rule:
        """The published rule.

        Raises
        ------
        ValueError
            If it is not known; so for the other parts below.
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
        """Members when the parent opened, 0 where there is no parent."""
        return self.parent.member_count if self.parent else 0

    @property
    def parent_rewards_root(self) -> bytes:
        """Root of the parent's rewards, 32 zero bytes where there is no parent."""
        return self.parent.rewards_root if self.parent else NO_ROOT

    # Trees ------------------------------------------------------------------------------------

    @property
    def layout(self) -> TreeLayout:
        """How the round's vectors are cut into chunks."""
        rule = self.known_rule
        return TreeLayout(rule.manifest_hash, rule.chunk_values, rule.dimension)

    @cached_property
    def contributors(self) -> StandardTree:
        """The tree over the published contributors, in whatever order they come."""
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
        """Return a vector's tree; kept, for it costs a pass over the vector."""
        if root not in self._vector_trees:
            self._vector_trees[root] = ParameterTree(vector, self.layout)
        return self._vector_trees[root]

    def leaf_proof(self, position: int) -> Proof:
        """Return the inclusion proof of the published contributor at a position."""
        if self.leaf_proofs is not None:
            return self.leaf_proofs[position]
        return self.contributors.proof(position)

    def metrics_hash(self, position: int) -> bytes:
        """Return what a contributor signed beside its update."""
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
        If it has none.
    """
    at = position_of(round_.known_scores, contributor)
    return score_words(round_.known_scores[at]), round_.scores_tree.proof(at)


def position_of(leaves: Sequence[Any], contributor: Address) -> int:
    """Return the first position of an account's leaf.

    Raises
    ------
    ValueError
        If it has none.
    """
    return [leaf.contributor for leaf in leaves].index(contributor)


def reward_positions(round_: DisputedRound) -> dict[int, int]:
    """Return where the leaves are that are as deep as they must be, by number of member (from 1).

    Pairs are sorted before they are hashed, so a proof does not say whether a leaf is left or
    right; its length says how deep it is. If each member's leaf is as deep as its place in the
    order of joining says, the tree is full (L. G. Kraft's inequality, 1949): there is no leaf that
    nobody saw. A member that is missing has none: the coordinator cannot answer when it is asked
    for it.
    """
    count, leaves = round_.committed.member_count, round_.known_rewards
    numbers = {member: number for number, member in enumerate(round_.members[:count], 1)}
    found: dict[int, int] = {}
    for at, leaf in enumerate(leaves):
        number = numbers.get(leaf.contributor)
        if number and depth_of(at, len(leaves)) == depth_of(number - 1, count):
            found.setdefault(number, at)
    return found
