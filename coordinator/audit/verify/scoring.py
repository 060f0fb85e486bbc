"""The scorer that a rule announces, built from what the store holds."""

from coordinator.ports import ArtifactStore, Scorer
from coordinator.protocol.commitments.documents import decode
from coordinator.protocol.types import Rule
from coordinator.service.scorers import scorer_from


def scorer_of(rule: Rule, store: ArtifactStore) -> Scorer:
    """Return the scorer that a rule announces.

    Raises
    ------
    ConfigError
        If the announced document describes no scoring rule.
    BlobMissingError, BlobCorruptError
        If the document, or the evaluation set it names, is not in the store as announced.
    """
    name = rule.scoring_hash
    document = decode("json", name, store.get_bytes(name), f"scoring {name.hex()}")
    return scorer_from(document, store)
