"""Which blobs of a store the chain commits to, directly or through a document it commits to.

A store may hold others: updates of an abandoned round, or updates refused after they were stored.
The chain does not say whether those are right.
"""

from dataclasses import dataclass, field
from typing import Final

from coordinator.ports import ArtifactStore, Ledger
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    decode,
    rule_from,
)
from coordinator.protocol.errors import BlobCorruptError, BlobMissingError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId, Rule

_NOTHING: Final = bytes(32)
VECTOR: Final = "safetensors"
OPAQUE: Final = "bin"


@dataclass(slots=True)
class CommittedBlobs:
    """The file names of all blobs that a chain commits to.

    Attributes
    ----------
    rounds
        By file name, the first round that needs the blob; ``None`` if it belongs to the whole run.
    manifests
        By file name of a vector, the SHA-256 of its manifest.
    is_complete
        Whether every document that names further blobs could be read.
    """

    rounds: dict[str, RoundId | None] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    is_complete: bool = True

    def add(self, name: bytes, suffix: str, round_id: RoundId | None) -> str:
        """Add a blob; the round that needs it first is kept. Return its file name."""
        file = f"{name.hex()}.{suffix}"
        if name != _NOTHING:
            self.rounds.setdefault(file, round_id)
        return file

    def add_vector(self, root: bytes, manifest: bytes, round_id: RoundId | None) -> None:
        """Add a vector of the manifest with this SHA-256."""
        self.manifests.setdefault(self.add(root, VECTOR, round_id), manifest)


def committed_blobs(ledger: Ledger, store: ArtifactStore) -> CommittedBlobs:
    """Return every blob that the rounds on chain commit to, void ones too.

    Parameters
    ----------
    ledger, store
        Where the commitments, and the documents they lead to, are read.

    Raises
    ------
    StoreError
        If the store cannot be read. A missing or corrupt document only makes the list incomplete.
    """
    blobs = CommittedBlobs()
    rules: dict[bytes, bytes] = {}
    for number in range(1, ledger.head().last_opened + 1):
        chain_round = ledger.round(RoundId(number))
        if chain_round.rule_hash not in rules:
            rules[chain_round.rule_hash] = _add_rule(chain_round.rule_hash, store, blobs)
        _add_round(chain_round, rules[chain_round.rule_hash], store, blobs)
    return blobs


def _add_rule(rule_hash: bytes, store: ArtifactStore, blobs: CommittedBlobs) -> bytes:
    """Add a rule, its manifest and what its scoring names; return the manifest's SHA-256."""
    blobs.add(rule_hash, "rule.json", None)
    try:
        rule: Rule = rule_from(store.get_document("rule", rule_hash))
        blobs.add(rule.manifest_hash, OPAQUE, None)
        blobs.add(rule.scoring_hash, OPAQUE, None)
        scoring = store.get_bytes(rule.scoring_hash)
        document = decode("json", rule.scoring_hash, scoring, "scoring")
        evaluation = document.get("evaluation")
        if isinstance(evaluation, str):
            blobs.add(bytes.fromhex(evaluation), OPAQUE, None)
    except (BlobMissingError, BlobCorruptError, TypeError, ValueError):
        blobs.is_complete = False
        return b""
    return rule.manifest_hash


def _add_round(
    chain_round: ChainRound, manifest: bytes, store: ArtifactStore, blobs: CommittedBlobs
) -> None:
    number = chain_round.round_id
    base_of = None if not chain_round.parent else chain_round.parent
    blobs.add_vector(chain_round.model_root, manifest, base_of)
    blobs.add_vector(chain_round.new_model_root, manifest, number)
    for root, kind in (
        (chain_round.commitments_root, "commitments"),
        (chain_round.contributors_root, "contributors"),
        (chain_round.scores_root, "scores"),
        (chain_round.rewards_root, "rewards"),
    ):
        blobs.add(root, f"{kind}.json", number)
    if chain_round.contributors_root == _NOTHING:
        return
    try:
        document = store.get_document("contributors", chain_round.contributors_root)
        for entry in contributor_entries(document):
            blobs.add_vector(entry.leaf.update_root, manifest, number)
    except (BlobMissingError, BlobCorruptError):
        blobs.is_complete = False
