"""Audits a whole run folder: files, chain, configuration, then every round."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from coordinator.audit.verify.chain_audit import ARTIFACT, AuditedChain, audit_chain
from coordinator.audit.verify.committed_blobs import CommittedBlobs, committed_blobs
from coordinator.audit.verify.contract_audit import check_seen_block
from coordinator.audit.verify.findings import Findings, printable
from coordinator.audit.verify.record_audit import RecordAuditor
from coordinator.audit.verify.round_audit import RoundAuditor
from coordinator.audit.verify.run_blobs import audit_momenta, audit_void_rounds, unreferenced
from coordinator.audit.verify.scoring import scorer_of
from coordinator.audit.verify.sealed_audit import is_sealed
from coordinator.local.files import read_file
from coordinator.ports import ArtifactStore
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, FedproofError, StoreError, VerificationError
from coordinator.protocol.types import JsonObject, RoundId
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import RunFolder
from coordinator.stores.run_layout import (
    CHECKSUMS,
    entries,
    looks_like_run,
    round_of,
    vouchers,
)


def verify_run(root: Path, *, seen_block: str | None = None, partial: bool = False) -> Findings:
    """Replay a run from its folder alone; nothing in it is written.

    Parameters
    ----------
    root
        The run's folder.
    seen_block
        A block hash seen earlier, hexadecimal, that must be in the chain.
    partial
        The run is still going on or was interrupted: do not require ``SHA256SUMS``. Its chain is
        copied as it is at that moment; a process at work in the folder is not disturbed.

    Raises
    ------
    ConfigError
        If ``root`` is not a readable folder, not a run, or an unfinished run and ``partial`` is
        not given.
    StoreError
        If a file in it is there and cannot be read, or a process is at work in it and ``partial``
        is not given.
    ChainUnavailableError
        If a process has the chain open. Anything else that is wrong becomes a fault.
    """
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        raise ConfigError(f"{root}: not a readable folder; expected a run folder")
    folder = RunFolder(root, read_only=True)
    _require_run(folder, partial)
    findings = Findings(facts={"partial": True} if partial else {})
    if partial:
        folder.check_readable()
    problems = list(_problems_of_files(folder, finished=not partial))
    chain = audit_chain(folder, findings, copied=partial)
    committed = CommittedBlobs(is_complete=False)
    if chain is not None:
        store = DiskStore(folder.blobs, read_only=True)
        momenta = _audit_commitments(folder, chain, store, findings, seen_block)
        committed = committed_blobs(chain.ledger, store)
        withheld = DiskStore(folder.root / "withheld", read_only=True)
        audit_void_rounds(chain.ledger, (store, withheld), committed, findings)
        audit_momenta(chain.ledger, store, committed, momenta, findings)
        if not partial:
            RecordAuditor(folder, chain, store, momenta, findings).audit()
            findings.facts["files"] = vouchers(entries(root))
            problems += unreferenced(folder.root, committed, chain.ledger)
    for name, rule, problem in problems:
        number = committed.rounds.get(PurePosixPath(name).name, round_of(name))
        findings.fault(number, printable(name), rule, printable(problem))
    return findings


def _require_run(folder: RunFolder, partial: bool) -> None:
    """Refuse a folder without a finished run: an error, not a fault (docs/exit-codes.md)."""
    root = folder.root
    if not looks_like_run(root):
        raise ConfigError(f"{root}: {_no_run(root)}")
    if not partial and folder.is_in_use():
        raise StoreError(
            f"{root}: a process is at work in it; wait for its end, or check with --partial what "
            "is there"
        )
    begun = not os.path.lexists(folder.federation)
    if partial and begun and not os.path.lexists(root / CHECKSUMS):
        raise ConfigError(f"{root}: the run has only begun: nothing to verify is on its chain yet")
    if not partial and not os.path.lexists(root / CHECKSUMS) and _is_unfinished(folder):
        raise ConfigError(
            f"{root}: the run is not complete: go on with it ('fedproof simulate' with the same "
            "--out), or check with --partial what is there"
        )


def _no_run(root: Path) -> str:
    """Describe a folder that is not a run, as far as its files show."""
    inside = sorted(p for p in root.iterdir() if p.is_dir() and _is_verifiable(p))
    if inside:
        names = ", ".join(str(path) for path in inside[:5])
        more = ", ..." if len(inside) > 5 else ""
        return f"neither a run's folder nor a coordinator's, but it holds some: {names}{more}"
    if (root / "participant.toml").is_file():
        return "a participant's folder: nothing is committed there; give --rpc URL and --store URL"
    return (
        "neither a run's folder (config.json, federation.json, chain/, blobs/, SHA256SUMS) nor a "
        "coordinator's (coordinator.toml)"
    )


def _is_verifiable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK) and (
        (folder / "coordinator.toml").is_file() or looks_like_run(folder)
    )


def _is_unfinished(folder: RunFolder) -> bool:
    """Return whether a run was left before its end: a finished run records the chain's head."""
    if not os.path.lexists(folder.federation):
        return True
    try:
        return "head_hash" not in folder.read_json(folder.federation)
    except FedproofError:
        return False


def _problems_of_files(folder: RunFolder, *, finished: bool) -> Iterator[tuple[str, str, str]]:
    """Yield name, broken rule and detail of each wrong file, before the chain is read."""
    for name, problem in folder.misplaced(finished=finished):
        yield name, "a run's folder must hold a run's files and nothing else", problem
    if finished:
        for name, problem in folder.check_checksums():
            yield name, "every file must be as the finished run left it", problem


def _audit_commitments(
    folder: RunFolder,
    chain: AuditedChain,
    store: ArtifactStore,
    findings: Findings,
    seen_block: str | None,
) -> Mapping[RoundId, bytes | None]:
    """Replay every round; return the computed root of the server momentum after each."""
    if seen_block:
        check_seen_block(chain.federation, seen_block, findings, ARTIFACT)
    config = _read_config(folder, chain, findings)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads, thread_name_prefix="fedproof-verify") as pool:
        auditor = RoundAuditor(
            chain.ledger,
            store,
            findings,
            lambda rule: scorer_of(rule, store),
            pool,
            sealed=is_sealed(config),
        )
        for number in range(1, chain.ledger.head().last_opened + 1):
            auditor.audit(RoundId(number))
    return auditor.momenta


def _read_config(folder: RunFolder, chain: AuditedChain, findings: Findings) -> JsonObject:
    """Return the configuration, and check its digest against the one the contract holds."""
    try:
        data = read_file(folder.config)
    except StoreError as error:
        findings.fault(None, "config.json", "the configuration must be there", str(error))
        return {}
    digest = hashlib.sha256(data).digest()
    if digest != chain.terms.config_digest:
        findings.fault(
            None,
            "config.json",
            "its SHA-256 must be the config digest on chain",
            f"found {digest.hex()}, expected {chain.terms.config_digest.hex()}",
        )
        return {}
    try:
        config: JsonObject = dict(parse_json(data, "config.json"))
    except (VerificationError, TypeError, ValueError) as error:
        findings.fault(None, "config.json", "the configuration must be readable", str(error))
        return {}
    return config
