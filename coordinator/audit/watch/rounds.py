"""Reads a sealed round as a dispute needs it: commitments from the chain, the rest from a store.

Whatever is missing or does not hash to its commitment counts as not got. Not handled: judging
(``core.disputes``).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from contracts.binding.reader import FederationReader
from coordinator.audit.watch.published import PublishedData
from coordinator.audit.watch.round_artifacts import RoundArtifacts
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import ContributorEntry
from coordinator.protocol.disputes import DisputedRound
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector, RoundId

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

    def read(self, round_id: RoundId, *, without_store: bool = False) -> DisputedRound:
        """Return a sealed round with all that was published of it.

        Parameters
        ----------
        without_store
            Count what the store cannot give as not published, even where it does not answer.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        StoreError
            If the store does not answer. A missing or damaged artifact raises nothing.
        """
        state = self._federation.round(round_id)
        parent = self._federation.round(state.parent) if state.parent else None
        artifacts = RoundArtifacts(self._store, self._published, without_store)
        rule = artifacts.rule(state.rule_hash)
        manifest = artifacts.manifest(rule)
        contributors = artifacts.contributors(state)
        entries = contributors.entries if contributors else None
        scores = artifacts.scores(state) if state.is_settled else None
        rewards = artifacts.rewards(state) if state.is_settled else None
        before = artifacts.rewards(parent) if parent else None
        return DisputedRound(
            committed=state,
            parent=parent,
            domain=self._federation.domain,
            min_stake_wei=self._federation.terms.min_stake_wei,
            members=self._federation.members(state.member_count),
            bonds=self._federation.stakes_at(round_id),
            rule=rule,
            entries=entries,
            updates=_updates(artifacts, entries, manifest),
            base_model=artifacts.vector(state.model_root, manifest),
            new_model=artifacts.vector(state.new_model_root, manifest),
            scores=scores.records if scores else None,
            rewards=rewards.records if rewards else None,
            parent_rewards=before.records if before else None,
            leaf_proofs=contributors.proofs if contributors else None,
            score_proofs=scores.proofs if scores else None,
            reward_proofs=rewards.proofs if rewards else None,
            parent_reward_proofs=before.proofs if before else None,
            metrics_hashes=contributors.metrics_hashes if contributors else None,
        )


def is_complete(round_: DisputedRound) -> bool:
    """Whether nothing of a round is missing that could be had."""
    updates = round_.updates or [None]
    needed: list[object] = [
        round_.rule,
        round_.entries,
        round_.base_model,
        round_.new_model,
        *updates,
    ]
    if round_.committed.is_settled:
        needed += [round_.scores, round_.rewards]
        needed += [round_.parent_rewards] if round_.parent_member_count else []
    return all(part is not None for part in needed)


def _updates(
    artifacts: RoundArtifacts, entries: Sequence[ContributorEntry] | None, manifest: Manifest | None
) -> list[Int32Vector | None] | None:
    if entries is None:
        return None
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fedproof-watch") as pool:
        roots = [entry.leaf.update_root for entry in entries]
        return list(pool.map(lambda root: artifacts.vector(root, manifest), roots))
