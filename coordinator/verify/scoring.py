"""The scorer that a rule announces, built from what the store holds."""

from coordinator.adapters.scorers import scorer_from
from coordinator.core.documents import decode
from coordinator.core.types import Rule
from coordinator.ports import ArtifactStore, Scorer


def scorer_of(rule: Rule, store: ArtifactStore) -> Scorer:
    """Return the scorer that a rule announces.

    Raises
    ------
    ConfigError
        If the announced document describes no scoring rule.
    BlobMissingError, BlobCorruptError
        If it, or the evaluation set it names, is not in the store as announced.
    """
    name = rule.scoring_hash
    document = decode("json", name, store.get_bytes(name), f"scoring {name.hex()}")
    return scorer_from(document, store)
