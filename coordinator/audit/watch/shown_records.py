"""Contributors, scores and rewards that a coordinator published on chain, one record per answer.

The referee has checked the proof of each against its root. All records of a tree together replace
the missing document: if they hash to the root in the shape of an honest tree, they are that
document; otherwise each keeps its own proof. Not handled: reading the chain (``published``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from eth_utils.address import to_checksum_address

from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    reward_leaf_hash,
    score_leaf_hash,
)
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.disputes.cases import Proof
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    ContributorLeaf,
    RewardLeaf,
    RoundId,
    ScoreLeaf,
    Wei,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShownContributor:
    """A contributor's leaf and signature; only the hash of its metrics is on chain."""

    entry: ContributorEntry
    metrics_hash: bytes


@dataclass(frozen=True, slots=True)
class Records(Generic[_T]):
    """All records of one tree; ``proofs`` is ``None`` if the tree has the standard shape."""

    records: Sequence[_T]
    proofs: Sequence[Proof] | None = None


@dataclass(frozen=True, slots=True)
class Contributors:
    """All contributors of a round.

    ``metrics_hashes`` is set if only hashes of the metrics are known, ``proofs``, by index, if the
    tree does not have the standard shape.
    """

    entries: Sequence[ContributorEntry]
    metrics_hashes: Sequence[bytes] | None = None
    proofs: Mapping[int, Proof] | None = None

    @classmethod
    def of(cls, shown: Records[ShownContributor]) -> "Contributors":
        """Return contributors from records published on chain."""
        entries = [contributor.entry for contributor in shown.records]
        proofs = None if shown.proofs is None else dict(enumerate(shown.proofs))
        return cls(entries, [contributor.metrics_hash for contributor in shown.records], proofs)


class ShownRecords(Generic[_T]):
    """Published records of one kind, by root and by the index in the question."""

    def __init__(self, leaf_hash: Callable[[_T], bytes]) -> None:
        self._leaf_hash = leaf_hash
        self._shown: dict[bytes, dict[int, tuple[_T, Proof]]] = {}

    def keep(self, root: bytes, index: int, record: _T, proof: Sequence[bytes]) -> None:
        """Keep a record that was published."""
        self._shown.setdefault(root, {})[index] = (record, tuple(proof))

    def has(self, root: bytes, index: int) -> bool:
        """Whether a record was published."""
        return index in self._shown.get(root, {})

    def all_of(self, root: bytes, indices: range) -> Records[_T] | None:
        """Return the records of a tree in order of index, ``None`` unless all were published."""
        shown: Mapping[int, tuple[_T, Proof]] = self._shown.get(root, {})
        if not indices or not all(index in shown for index in indices):
            return None
        records = [shown[index][0] for index in indices]
        if StandardTree([self._leaf_hash(record) for record in records]).root == root:
            return Records(records)
        return Records(records, [shown[index][1] for index in indices])


def shown_contributors() -> ShownRecords[ShownContributor]:
    """Return an empty collection of contributors; indices from 0."""
    return ShownRecords(lambda shown: contributor_leaf_hash(shown.entry.leaf))


def shown_scores() -> ShownRecords[ScoreLeaf]:
    """Return an empty collection of scores, by the index of the contributor, from 0."""
    return ShownRecords(score_leaf_hash)


def shown_rewards() -> ShownRecords[RewardLeaf]:
    """Return an empty collection of rewards, by the number of the member, from 1."""
    return ShownRecords(reward_leaf_hash)


# --- decoded answers, in the order of the contract's parameters ----------------------------------


def contributor_of(words: Sequence[Any]) -> tuple[ShownContributor, Proof]:
    """Return the contributor and proof in the arguments of ``answer_contributor``."""
    _, leaf_words, proof, digest, signature = words
    round_id, index, account, update_root, examples, weight, stake, signed = leaf_words
    leaf = ContributorLeaf(
        RoundId(round_id),
        index,
        Address(to_checksum_address(account)),
        bytes(update_root),
        examples,
        weight,
        Wei(stake),
        bytes(signed),
    )
    return ShownContributor(ContributorEntry(leaf, bytes(signature), {}), bytes(digest)), proof


def score_of(words: Sequence[Any]) -> tuple[ScoreLeaf, Proof]:
    """Return the score and proof in the arguments of ``answer_score``."""
    _, _, _, (round_id, account, score), proof = words
    return ScoreLeaf(RoundId(round_id), Address(to_checksum_address(account)), score), proof


def reward_of(words: Sequence[Any], member: str) -> tuple[RewardLeaf, Proof]:
    """Return a member's reward and its proof in the arguments of ``answer_reward``."""
    _, cumulative, proof = words
    return RewardLeaf(Address(to_checksum_address(member)), Wei(cumulative)), proof
