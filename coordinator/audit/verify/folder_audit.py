"""Audits a coordinator's own folder: its embedded chain executed again, and every round.

Works on the folder or a backup of it, while the service does not run. The chain's parameters come
from the chain file itself (a run's folder records them separately), so only a block hash seen
earlier shows that the file is the original chain.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from web3 import Web3

from contracts.binding.federation import Federation
from contracts.node.provider import EmbeddedProvider
from contracts.node.replica import replay
from contracts.node.rpc import Dispatcher
from coordinator.audit.verify.contract_audit import check_contracts, check_seen_block
from coordinator.audit.verify.findings import Findings
from coordinator.audit.verify.remote_audit import AGREEMENT, audit_rounds, check_agreement
from coordinator.protocol.errors import (
    ChainUnavailableError,
    ConfigError,
    LedgerError,
    VerificationError,
)
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.coordinator import load_coordinator
from coordinator.stores.disk import DiskStore

_SETTINGS: Final = "coordinator.toml"
_CHAIN: Final = "chain/chain.sqlite"


@dataclass(frozen=True, slots=True)
class CoordinatorFolder:
    """Where a coordinator keeps its agreement and its state."""

    agreement: Path
    state: Path


def coordinator_folder(root: Path) -> CoordinatorFolder | None:
    """Return the coordinator's folders if ``root`` is a federation's folder or its state's.

    Returns ``None`` if it is neither.

    Raises
    ------
    ConfigError
        If its ``coordinator.toml`` is unusable.
    """
    if (root / _SETTINGS).is_file():
        settings = load_coordinator(root / _SETTINGS)
        return CoordinatorFolder(root / settings.federation, root / settings.state)
    above = root.absolute().parent
    if (above / _SETTINGS).is_file() and not (root / AGREEMENT).exists():
        folder = coordinator_folder(above)
        return folder if folder and folder.state.absolute() == root.absolute() else None
    return None


def verify_folder(folder: CoordinatorFolder, *, seen_block: str | None = None) -> Findings:
    """Audit a coordinator's folder; nothing in it is written.

    Raises
    ------
    ConfigError
        If it has no embedded chain, or its agreement is unreadable.
    ChainUnavailableError
        If the service is running.
    """
    agreement = read_agreement(folder.agreement)
    chain = folder.state / _CHAIN
    if not chain.is_file():
        raise ConfigError(f"{chain}: no embedded chain there; give --rpc URL and --store URL")
    findings = Findings()
    federation = _rebuilt(chain, agreement, findings)
    if federation is None:
        return findings
    check_contracts(federation, findings, int(findings.facts["head_block"]))
    if seen_block:
        check_seen_block(federation, seen_block, findings, _CHAIN)
    check_agreement(folder.agreement.read_bytes(), federation, findings)
    store = DiskStore(folder.state / "blobs", read_only=True)
    try:
        audit_rounds(federation, store, federation.head().last_opened, agreement, findings)
    finally:
        store.close()
    return findings


def _rebuilt(chain: Path, agreement: FederationAgreement, findings: Findings) -> Federation | None:
    """Execute every block again; ``None`` if that, or finding the contract, fails."""
    try:
        replayed = replay(chain)
        dispatcher = Dispatcher(replayed.node, dev=False)
        contract = agreement.domain.verifying_contract
        federation = Federation(Web3(EmbeddedProvider(dispatcher)), contract)
        _ = federation.terms
    except VerificationError as error:
        rule = "every block must re-execute to its own hash"
        findings.fault(None, _CHAIN, rule, str(error))
        return None
    except ChainUnavailableError:
        raise
    except LedgerError as error:
        findings.fault(None, AGREEMENT, "it must name the contract", str(error))
        return None
    findings.facts |= {
        "contract": contract,
        "chain_id": replayed.node.genesis.chain_id,
        "head_block": replayed.head_number,
        "head_hash": "0x" + replayed.head_hash.hex(),
        "transactions": replayed.transactions,
    }
    return federation
