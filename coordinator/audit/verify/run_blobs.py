"""Audits a run's blobs that no live round needs: those of void rounds, and those of no round."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from coordinator.audit.verify.committed_blobs import OPAQUE, VECTOR, CommittedBlobs
from coordinator.audit.verify.findings import Findings
from coordinator.ports import ArtifactStore, Ledger
from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    ConfigError,
    FedproofError,
)
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RoundId
from coordinator.stores.run_folder import FileJournal
from coordinator.stores.run_layout import entries, is_in_place


def audit_void_rounds(
    ledger: Ledger,
    stores: Sequence[ArtifactStore],
    committed: CommittedBlobs,
    findings: Findings,
) -> None:
    """Re-hash the blobs of void rounds in every store that has them; they may be missing."""
    void = {
        number
        for number in range(1, ledger.head().last_opened + 1)
        if ledger.round(RoundId(number)).status is RoundStatus.VOID
    }
    for file, number in committed.rounds.items():
        if number not in void:
            continue
        for store in stores:
            try:
                _read(file, store, committed, stores[0])
            except BlobMissingError:
                continue
            except BlobCorruptError as error:
                rule = "a blob must hash to its name"
                findings.fault(number, file, rule, str(error))


def audit_momenta(
    ledger: Ledger,
    store: ArtifactStore,
    committed: CommittedBlobs,
    momenta: Mapping[RoundId, bytes | None],
    findings: Findings,
) -> None:
    """Re-hash the server momenta, whose roots were computed again; count them as committed."""
    for number, root in momenta.items():
        if root is None:
            continue
        model = f"{ledger.round(number).new_model_root.hex()}.{VECTOR}"
        committed.add_vector(root, committed.manifests[model], number)
        file = f"{root.hex()}.{VECTOR}"
        try:
            _read(file, store, committed, store)
        except (BlobMissingError, BlobCorruptError) as error:
            rule = "the server momentum must be in the store as the rule gives it"
            findings.fault(number, file, rule, str(error))


def _read(
    file: str, store: ArtifactStore, committed: CommittedBlobs, manifests: ArtifactStore
) -> None:
    digits, _, suffix = file.partition(".")
    name = bytes.fromhex(digits)
    if suffix == OPAQUE:
        store.get_bytes(name)
    elif suffix != VECTOR:
        store.get_document(suffix.removesuffix(".json"), name)
    elif digest := committed.manifests[file]:
        try:
            manifest = Manifest.from_json(manifests.get_bytes(digest))
        except (BlobMissingError, BlobCorruptError, ConfigError):
            return  # the run has no manifest to read it with: the audit of live rounds reports it
        store.get_vector(name, manifest)


def unreferenced(
    root: Path, committed: CommittedBlobs, ledger: Ledger
) -> Iterator[tuple[str, str, str]]:
    """Yield name, broken rule and detail for each blob that nothing on chain leads to.

    Yields nothing if a document that names further blobs is missing or corrupt: that is a fault of
    its own, and it is unknown which blobs belong to the run.
    """
    if not committed.is_complete:
        return
    momenta = momentum_files(root, ledger)
    for entry in entries(root):
        if not entry.name.startswith(("blobs/", "withheld/")) or entry.kind != "file":
            continue
        if not is_in_place(entry.name, finished=True):
            continue  # a fault already
        file = entry.name.rpartition("/")[2]
        if file not in committed.rounds and file not in momenta:
            rule = "every blob must be committed to on chain"
            yield entry.name, rule, "nothing on chain leads to it"


def momentum_files(root: Path, ledger: Ledger) -> set[str]:
    """Return the file names of the server momenta that the notes of live rounds name."""
    notes, files = FileJournal(root / "rounds"), set()
    for number in range(1, ledger.head().last_opened + 1):
        if not ledger.round(RoundId(number)).status.has_result:
            continue
        try:
            files.add(f"{notes.get(RoundId(number)).get('velocity')}.{VECTOR}")
        except FedproofError:
            continue  # the audit of the notes reports it
    return files
