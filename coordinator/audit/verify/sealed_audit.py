"""Audits a sealed round's commitments: each contributor revealed what it had committed to."""

from collections.abc import Iterator, Sequence

from coordinator.audit.verify.findings import Broken
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import signed_update
from coordinator.protocol.commitments.documents import read_commitments
from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    ContributorError,
    VerificationError,
)
from coordinator.protocol.round.chain_round import NO_ROOT, ChainRound
from coordinator.protocol.round.screening import check_opening
from coordinator.protocol.types import ContributorEntry, JsonObject, SigningDomain


def is_sealed(config: JsonObject) -> bool:
    """Return whether a configuration bound on chain says that rounds are sealed.

    Of an experiment that is ``cohort.sealed``, of a federation's agreement ``sealed``.
    """
    cohort = config.get("cohort")
    value = cohort.get("sealed") if isinstance(cohort, dict) else config.get("sealed")
    return value is True


def broken_commitments(
    chain_round: ChainRound,
    entries: Sequence[ContributorEntry],
    domain: SigningDomain,
    store: ArtifactStore,
    *,
    agreed: bool,
) -> Iterator[Broken]:
    """Yield the rules that a round's commitments break.

    Parameters
    ----------
    found
        A round whose result is committed on chain.
    agreed
        Whether the federation agreed on sealed rounds. Commitments on chain are checked in any
        case.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    root = chain_round.commitments_root
    artifact = f"commitments {root.hex()}"
    if root == NO_ROOT:
        if agreed:
            rule = "a round of a sealed federation must have its commitments on chain"
            yield f"round {chain_round.round_id}", rule, "there are none"
        return
    try:
        document = store.get_document("commitments", root)
        commitments = read_commitments(document, chain_round.round_id, root)
    except (BlobMissingError, BlobCorruptError) as error:
        yield artifact, "commitments must hash to the committed root", str(error)
        return
    except VerificationError as error:
        yield artifact, "commitments must be this round's, one a contributor", str(error)
        return
    if len(commitments) != chain_round.commitments_count:
        detail = f"{len(commitments)} leaves, the chain says {chain_round.commitments_count}"
        yield artifact, "the count must be that of the leaves", detail
    for entry in entries:
        try:
            check_opening(
                signed_update(entry, chain_round.model_root), entry.salt, domain, commitments
            )
        except ContributorError as error:
            leaf = f"leaf {entry.leaf.index} of {entry.leaf.contributor}"
            yield leaf, "an update must open what its contributor committed to", str(error)
