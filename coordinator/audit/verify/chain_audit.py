"""Audits a run's chain: re-executes every block, and checks what was deployed on it.

The result is a read-only ledger over the *rebuilt* chain, so the rest of the audit reads nothing
that was only copied from the file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from web3 import Web3

from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.replica import ReplayResult, replay
from contracts.node.rpc import Dispatcher
from contracts.node.snapshot import snapshot
from coordinator.audit.verify.contract_audit import check_contracts
from coordinator.audit.verify.findings import Findings
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.protocol.errors import (
    ChainUnavailableError,
    FedproofError,
    LedgerError,
    StoreError,
    VerificationError,
)
from coordinator.protocol.types import Address, JsonObject
from coordinator.stores.run_folder import RunFolder

ARTIFACT = "chain/chain.sqlite"
COORDINATES = "federation.json"


@dataclass(frozen=True, slots=True)
class AuditedChain:
    """A chain whose every block was executed again, and the federation on it."""

    node: EmbeddedNode
    federation: Federation
    ledger: ChainLedger
    terms: Terms


def audit_chain(
    folder: RunFolder, findings: Findings, *, copied: bool = False
) -> AuditedChain | None:
    """Rebuild the run's chain; ``None`` if it cannot be used, with the faults saying why.

    Parameters
    ----------
    copied
        Whether to audit a copy of the chain as it is now: a process may be writing to it.

    Raises
    ------
    ChainUnavailableError
        If a process has the chain open, or it cannot be copied.
    """
    try:
        coordinates = folder.read_json(folder.federation)
        genesis = GenesisConfig.from_json(json.dumps(coordinates["genesis"]))
        contract = Address(coordinates["contract"])
    except (FedproofError, KeyError, TypeError, ValueError) as error:
        rule = "the run must say where its chain's commitments are"
        findings.fault(None, COORDINATES, rule, f"{type(error).__name__}: {error}")
        return None
    try:
        replayed = _replayed(folder.chain, copied)
    except ChainUnavailableError:
        raise
    except FedproofError as error:
        findings.fault(None, ARTIFACT, "every block must re-execute to its own hash", str(error))
        return None
    try:
        dispatcher = Dispatcher(replayed.node, dev=False)
        federation = Federation(Web3(EmbeddedProvider(dispatcher)), contract)
        terms = federation.terms
    except LedgerError as error:  # the blocks are sound, so federation.json names a wrong contract
        findings.fault(None, COORDINATES, "it must name the federation's contract", str(error))
        return None
    findings.facts |= {
        "contract": federation.address,
        "chain_id": replayed.node.genesis.chain_id,
        "head_block": replayed.head_number,
        "head_hash": "0x" + replayed.head_hash.hex(),
        "transactions": replayed.transactions,
    }
    chain = AuditedChain(replayed.node, federation, ChainLedger(federation), terms)
    _check_genesis(genesis, replayed.node.genesis, findings)
    _check_head(coordinates, findings)
    check_contracts(federation, findings, replayed.head_number)
    return chain


def _replayed(chain: Path, copied: bool) -> ReplayResult:
    """Execute every block again; error messages name the original file, not its copy."""
    if not copied:
        return replay(chain)
    with snapshot(chain) as copy:
        try:
            return replay(copy)
        except (VerificationError, StoreError) as error:
            raise type(error)(str(error).replace(str(copy), str(chain))) from error


def _check_genesis(recorded: GenesisConfig, actual: GenesisConfig, findings: Findings) -> None:
    """Check the recorded genesis against the chain's; the blocks themselves may be sound."""
    if (difference := recorded.first_difference(actual)) is not None:
        name, recorded_value, actual_value = difference
        rule = "the chain must start from the genesis it records"
        findings.fault(
            None,
            COORDINATES,
            rule,
            f"{name}: it says {recorded_value!r}, the chain has {actual_value!r}",
        )


def _check_head(coordinates: JsonObject, findings: Findings) -> None:
    recorded = coordinates.get("head_hash")
    if recorded is not None and recorded != findings.facts["head_hash"]:
        findings.fault(
            None,
            ARTIFACT,
            "the chain must end at the recorded head",
            f"found {findings.facts['head_hash']}, federation.json says {recorded}",
        )
