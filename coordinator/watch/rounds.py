"""Fetches a sealed round as a dispute needs it: commitments from the chain, the rest from a store.

Whatever is missing or does not hash to its commitment counts as not got. Not handled: judging
(``core.disputes``).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from contracts.reader import FederationReader
from contracts.records import RoundState
from coordinator.core.disputes import Commitments, DisputedRound
from coordinator.core.documents import (
    ContributorEntry,
    contributor_entries,
    reward_leaves,
    rule_from,
    score_leaves,
)
from coordinator.core.errors import FedproofError
from coordinator.core.manifest import Manifest
from coordinator.core.types import Int32Vector, RewardLeaf, RoundId, Rule, ScoreLeaf
from coordinator.ports import ArtifactStore
from coordinator.watch.published import PublishedData

_T = TypeVar("_T")

_READERS: Final = 4


class RoundReader:
    """Reads rounds of one federation through any node and any store.

    Parameters
    ----------
    published
        Stands in for the store with what was shown on chain.
    """

    def __init__(
        self,
        federation: FederationReader,
        store: ArtifactStore,
        published: PublishedData | None = None,
    ) -> None:
        self._federation = federation
        self._store = store
        self._published = published

    def read(self, round_id: RoundId) -> DisputedRound:
        """Return a sealed round with all that was published of it.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer. A missing or damaged artifact raises nothing.
        """
        state = self._federation.round(round_id)
        parent = self._federation.round(state.parent) if state.parent else None
        rule = self._rule(state.rule_hash)
        manifest = self._manifest(rule)
        entries = self._entries(state)
        settled = state.settled_at > 0
        return DisputedRound(
            committed=commitments_of(state, parent),
            domain=self._federation.domain,
            min_stake_wei=self._federation.terms.min_stake_wei,
            members=self._federation.members(state.member_count),
            bonds=self._federation.stakes_at(round_id),
            rule=rule,
            entries=entries,
            updates=self._updates(entries, manifest),
            base_model=self._vector(state.model_root, manifest),
            new_model=self._vector(state.new_model_root, manifest),
            scores=self._scores(state) if settled else None,
            rewards=self._rewards(state.rewards_root) if settled else None,
            parent_rewards=self._rewards(parent.rewards_root) if parent else None,
        )

    def _rule(self, root: bytes) -> Rule | None:
        found = _got(lambda: rule_from(self._store.get_document("rule", root)))
        if found is None and self._published is not None:
            found = self._published.rule(root)
        return found

    def _manifest(self, rule: Rule | None) -> Manifest | None:
        if rule is None:
            return None
        return _got(lambda: Manifest.from_json(self._store.get_bytes(rule.manifest_hash)))

    def _entries(self, state: RoundState) -> list[ContributorEntry] | None:
        root = state.contributors_root
        return _got(lambda: contributor_entries(self._store.get_document("contributors", root)))

    def _scores(self, state: RoundState) -> list[ScoreLeaf] | None:
        root = state.scores_root
        return _got(lambda: score_leaves(self._store.get_document("scores", root)))

    def _rewards(self, root: bytes) -> list[RewardLeaf] | None:
        return _got(lambda: reward_leaves(self._store.get_document("rewards", root)))

    def _updates(
        self, entries: Sequence[ContributorEntry] | None, manifest: Manifest | None
    ) -> list[Int32Vector | None] | None:
        if entries is None:
            return None
        with ThreadPoolExecutor(_READERS, thread_name_prefix="fedproof-watch") as pool:
            roots = [entry.leaf.update_root for entry in entries]
            return list(pool.map(lambda root: self._vector(root, manifest), roots))

    def _vector(self, root: bytes, manifest: Manifest | None) -> Int32Vector | None:
        if manifest is None:
            return None
        found = _got(lambda: self._store.get_vector(root, manifest))
        if found is None and self._published is not None:
            found = self._published.vector(root, manifest)
        return found


def _got(read: Callable[[], _T]) -> _T | None:
    """Return what can be read, ``None`` for what is missing or not what it should be."""
    try:
        return read()
    except FedproofError:  # a blob that is missing or corrupt, or a manifest that is none
        return None


def commitments_of(state: RoundState, parent: RoundState | None) -> Commitments:
    """Return what the chain holds of a sealed round; ``parent`` is the round it stacks on."""
    return Commitments(
        round_id=state.round_id,
        model_root=state.model_root,
        rule_hash=state.rule_hash,
        member_count=state.member_count,
        budget_wei=state.budget_wei,
        contributors_root=state.contributors_root,
        n=state.n,
        total_examples=state.total_examples,
        total_stake_wei=state.total_stake_wei,
        new_model_root=state.new_model_root,
        settled=state.settled_at > 0,
        scores_root=state.scores_root,
        total_score=state.total_score,
        rewards_root=state.rewards_root,
        paid_wei=state.paid_wei,
        parent_member_count=parent.member_count if parent else 0,
        parent_rewards_root=parent.rewards_root if parent else bytes(32),
    )
