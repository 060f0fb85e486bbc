"""Reads a sealed round as a dispute needs it: commitments from the chain, the rest from a store.

An artifact that is missing, damaged, malformed or does not hash to its commitment is read as
``None``. A store that does not answer raises an error, unless the caller asks to treat that as
missing too; for a watcher :class:`RetryingReader` decides when, by ``outage``. Not handled: judging
the round (``protocol.disputes``).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from contracts.binding.reader import FederationReader
from contracts.binding.rpc import next_time
from coordinator.audit.watch.findings import Notice, NoticeHandler
from coordinator.audit.watch.outage import Outages
from coordinator.audit.watch.shown_records import Contributors, Records
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    reward_leaves,
    rule_from,
    score_leaves,
)
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    FedproofError,
    StoreError,
)
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import (
    ContributorEntry,
    Int32Vector,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
)

_READERS: Final = 4
_SILENT: Final = 3
"""After so many failures without one answer the store is not asked again during one read."""

_T = TypeVar("_T")


class ShownOnChain(Protocol):
    """Data published on chain in answers, instead of in the store.

    Each method returns ``None`` if its data was not published, or only in part.
    ``published.PublishedData`` implements it.
    """

    def rule(self, digest: bytes) -> Rule | None:
        """Return the rule of this hash."""

    def contributors(self, root: bytes, n: int) -> Contributors | None:
        """Return the ``n`` contributors under a root."""

    def scores(self, root: bytes, n: int) -> Records[ScoreLeaf] | None:
        """Return the ``n`` scores under a root."""

    def rewards(self, root: bytes, members: int) -> Records[RewardLeaf] | None:
        """Return the rewards of the first members under a root."""

    def vector(self, root: bytes, manifest: Manifest) -> Int32Vector | None:
        """Return the vector of this root, shape ``(d,)``."""


@dataclass(slots=True)
class RoundArtifacts:
    """Reads the artifacts of one round once, from store and chain.

    Parameters
    ----------
    published
        Read for what the store does not have.
    without_store
        Treat a store that does not answer as one that has nothing.
    """

    store: ArtifactStore
    published: ShownOnChain | None
    without_store: bool
    _failures: int = 0
    _has_answered: bool = False

    def rule(self, root: bytes) -> Rule | None:
        """Return the rule of this hash."""
        rule = self._read_or_none(lambda: rule_from(self.store.get_document("rule", root)))
        if rule is None and self.published is not None:
            rule = self.published.rule(root)
        return rule

    def manifest(self, rule: Rule | None) -> Manifest | None:
        """Return the manifest that a rule names, ``None`` if there is none to read."""
        if rule is None:
            return None
        return self._read_or_none(
            lambda: Manifest.from_json(self.store.get_bytes(rule.manifest_hash))
        )

    def contributors(self, state: ChainRound) -> Contributors | None:
        """Return a round's contributors, ``None`` unless they are as many as it committed to."""
        root = state.contributors_root
        entries = self._read_or_none(
            lambda: contributor_entries(self.store.get_document("contributors", root))
        )
        if entries is not None and len(entries) == state.n:
            return Contributors(entries)
        return self.published.contributors(root, state.n) if self.published is not None else None

    def scores(self, state: ChainRound) -> Records[ScoreLeaf] | None:
        """Return a settled round's scores."""
        root = state.scores_root
        leaves = self._read_or_none(lambda: score_leaves(self.store.get_document("scores", root)))
        if leaves is not None:
            return Records(leaves)
        return self.published.scores(root, state.n) if self.published is not None else None

    def rewards(self, state: ChainRound) -> Records[RewardLeaf] | None:
        """Return the members' cumulative rewards after a settled round."""
        root = state.rewards_root
        leaves = self._read_or_none(lambda: reward_leaves(self.store.get_document("rewards", root)))
        if leaves is not None:
            return Records(leaves)
        if self.published is None:
            return None
        return self.published.rewards(root, state.member_count)

    def vector(self, root: bytes, manifest: Manifest | None) -> Int32Vector | None:
        """Return the vector of this root, shape ``(d,)``."""
        if manifest is None:
            return None
        vector = self._read_or_none(lambda: self.store.get_vector(root, manifest))
        if vector is None and self.published is not None:
            vector = self.published.vector(root, manifest)
        return vector

    def _read_or_none(self, read: Callable[[], _T]) -> _T | None:
        if self._failures >= _SILENT and not self._has_answered:
            return None
        try:
            artifact = read()
        except (BlobMissingError, BlobCorruptError):
            self._has_answered = True
            return None
        except StoreError:
            if not self.without_store:
                raise
            self._failures += 1
            return None
        except FedproofError:  # the bytes are not a manifest
            return None
        self._has_answered = True
        return artifact


class RoundReader:
    """Reads rounds of one federation through any node and any store.

    Parameters
    ----------
    published
        Read for what the store does not have.
    """

    def __init__(
        self,
        federation: FederationReader,
        store: ArtifactStore,
        published: ShownOnChain | None = None,
    ) -> None:
        self._federation = federation
        self._store = store
        self._published = published

    def read(self, round_id: RoundId, *, without_store: bool = False) -> DisputedRound:
        """Return a sealed round with all of its artifacts that were published.

        Parameters
        ----------
        without_store
            Treat artifacts as unpublished even if the store does not answer.

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
    """Whether every artifact of a round was read."""
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
    artifacts: RoundArtifacts,
    entries: Sequence[ContributorEntry] | None,
    manifest: Manifest | None,
) -> list[Int32Vector | None] | None:
    if entries is None:
        return None
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fedproof-watch") as pool:
        roots = [entry.leaf.update_root for entry in entries]
        return list(pool.map(lambda root: artifacts.vector(root, manifest), roots))


class RetryingReader:
    """Reads the rounds of one federation repeatedly.

    A faulty round is read until none of it is missing, and then kept, so that its coordinator
    cannot withdraw artifacts afterwards.

    Parameters
    ----------
    patience_s
        Seconds a store may not answer; ``None`` for a quarter of the challenge window.
    on_notice
        Receives a notice of a store that does not answer, once per round.
    """

    def __init__(
        self,
        federation: FederationReader,
        rounds: RoundReader,
        patience_s: int | None,
        on_notice: NoticeHandler,
    ) -> None:
        self._federation, self._rounds, self._on_notice = federation, rounds, on_notice
        self._outages = Outages(federation.terms.challenge_window_s, patience_s)
        self._kept: dict[tuple[RoundId, RoundStatus], DisputedRound] = {}

    @property
    def unread(self) -> dict[RoundId, StoreError]:
        """Live rounds whose store did not answer at the last look, and why."""
        return self._outages.errors

    def read(self, state: ChainRound) -> DisputedRound | None:
        """Return a round; ``None`` if its store does not answer and the wait is not over."""
        kept = self._kept.get((state.round_id, state.status))
        if kept is not None:
            return kept
        try:
            round_ = self._rounds.read(state.round_id)
        except StoreError as away:
            return self._without_store(state, away)
        self._outages.end(state.round_id)
        return round_

    def read_now(self, round_id: RoundId, status: RoundStatus) -> DisputedRound:
        """Return the available part of a round, without waiting: a case has a deadline."""
        kept = self._kept.get((round_id, status))
        round_ = kept or self._rounds.read(round_id, without_store=True)
        if is_complete(round_):
            return round_
        return self._kept.get((round_id, RoundStatus.SEALED), round_)

    def keep(self, state: ChainRound, round_: DisputedRound) -> None:
        """Keep a faulty round, if none of it is missing."""
        if is_complete(round_):
            self._kept[state.round_id, state.status] = round_

    def keep_only(self, live: set[RoundId]) -> None:
        """Forget the rounds that are no longer live."""
        self._kept = {key: round_ for key, round_ in self._kept.items() if key[0] in live}
        self._outages.keep(live)

    def _without_store(self, state: ChainRound, away: StoreError) -> DisputedRound | None:
        now = next_time(self._federation.rpc)
        is_new = self._outages.begin(state, away, now)
        left = self._outages.counts_from(state) - now
        if left > 0:
            if is_new:
                self._say(state.round_id, f"{away}; counts as withholding if that lasts {left} s")
            return None
        if self._outages.count(state.round_id):
            self._say(state.round_id, f"{away}; counts as withholding now")
        return self._rounds.read(state.round_id, without_store=True)

    def _say(self, round_id: RoundId, text: str) -> None:
        self._on_notice(Notice("unreachable", int(round_id), text))
