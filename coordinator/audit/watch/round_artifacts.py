"""The artifacts of one round while it is read: from the store, or from what was shown on chain.

What is missing, damaged or not what it should be counts as not got. A store that does not answer is
another matter: that raises, unless it is to count as not got as well. Not handled: how long to bear
with such a store (``outage``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from coordinator.audit.watch.published import PublishedData
from coordinator.audit.watch.shown_records import Contributors, Records
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    reward_leaves,
    rule_from,
    score_leaves,
)
from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    FedproofError,
    StoreError,
)
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Int32Vector, RewardLeaf, Rule, ScoreLeaf

_T = TypeVar("_T")

_SILENT: Final = 3
"""A store that failed so often and never answered is not asked again during one read."""


@dataclass(slots=True)
class RoundArtifacts:
    """Store and chain, for one read of one round.

    Parameters
    ----------
    published
        Stands in for the store with what was shown on chain.
    without_store
        Go on where the store does not answer.
    """

    store: ArtifactStore
    published: PublishedData | None
    without_store: bool
    _failures: int = 0
    _has_answered: bool = False

    def rule(self, root: bytes) -> Rule | None:
        """Return the rule of this hash."""
        found = self._got(lambda: rule_from(self.store.get_document("rule", root)))
        if found is None and self.published is not None:
            found = self.published.rule(root)
        return found

    def manifest(self, rule: Rule | None) -> Manifest | None:
        """Return the manifest that a rule names."""
        if rule is None:
            return None
        return self._got(lambda: Manifest.from_json(self.store.get_bytes(rule.manifest_hash)))

    def contributors(self, state: ChainRound) -> Contributors | None:
        """Return a round's contributors: as many as it committed to, or none."""
        root = state.contributors_root
        found = self._got(
            lambda: contributor_entries(self.store.get_document("contributors", root))
        )
        if found is not None and len(found) == state.n:
            return Contributors(found)
        return self.published.contributors(root, state.n) if self.published is not None else None

    def scores(self, state: ChainRound) -> Records[ScoreLeaf] | None:
        """Return a settled round's scores."""
        root = state.scores_root
        found = self._got(lambda: score_leaves(self.store.get_document("scores", root)))
        if found is not None:
            return Records(found)
        return self.published.scores(root, state.n) if self.published is not None else None

    def rewards(self, state: ChainRound) -> Records[RewardLeaf] | None:
        """Return what members have earned up to a settled round."""
        root = state.rewards_root
        found = self._got(lambda: reward_leaves(self.store.get_document("rewards", root)))
        if found is not None:
            return Records(found)
        if self.published is None:
            return None
        return self.published.rewards(root, state.member_count)

    def vector(self, root: bytes, manifest: Manifest | None) -> Int32Vector | None:
        """Return the vector of this root, shape ``(d,)``."""
        if manifest is None:
            return None
        found = self._got(lambda: self.store.get_vector(root, manifest))
        if found is None and self.published is not None:
            found = self.published.vector(root, manifest)
        return found

    def _got(self, read: Callable[[], _T]) -> _T | None:
        if self._failures >= _SILENT and not self._has_answered:
            return None
        try:
            found = read()
        except (BlobMissingError, BlobCorruptError):
            self._has_answered = True
            return None
        except StoreError:
            if not self.without_store:
                raise
            self._failures += 1
            return None
        except FedproofError:  # a manifest that is none
            return None
        self._has_answered = True
        return found
