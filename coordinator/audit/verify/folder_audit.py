"""Audits a coordinator's own folder: its embedded chain executed again, and every round.

Works on the folder or a backup of it, while the service does not run. The chain's parameters come
from the chain file itself (a run's folder records them separately), so only a block hash seen
earlier shows that the file is the original chain.
"""

from pathlib import Path

from web3 import Web3

from contracts.binding.federation import Federation
from contracts.node.provider import EmbeddedProvider
from contracts.node.replica import replay
from contracts.node.rpc import Dispatcher
from coordinator.audit.coordinator_folder import CHAIN, CoordinatorFolder
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
from coordinator.stores.disk import DiskStore


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
    chain = folder.state / CHAIN
    if not chain.is_file():
        raise ConfigError(f"{chain}: no embedded chain there; give --rpc URL and --store URL")
    findings = Findings()
    federation = _rebuilt(chain, agreement, findings)
    if federation is None:
        return findings
    check_contracts(federation, findings, int(findings.facts["head_block"]))
    if seen_block:
        check_seen_block(federation, seen_block, findings, CHAIN)
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
        findings.fault(None, CHAIN, rule, str(error))
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
