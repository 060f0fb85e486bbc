"""Audits a federation through a node and an artifact store, wherever they are.

The same audit as of a run's folder, except that blocks are not executed again: the node's account
of its chain is trusted. Use a node of your own, or give a block hash that you have seen earlier;
``fedproof verify`` on a folder trusts nothing.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from web3 import Web3

from contracts.binding.federation import Federation
from coordinator.audit.verify.contract_audit import check_contracts, check_seen_block
from coordinator.audit.verify.findings import Findings
from coordinator.audit.verify.round_audit import RoundAuditor
from coordinator.audit.verify.scoring import scorer_of
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.ports import ArtifactStore
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address, RoundId
from coordinator.settings.agreement import FederationAgreement, agreement_from

AGREEMENT: Final = "federation.json"


@dataclass(frozen=True, slots=True)
class RemoteFederation:
    """Node, contract and store of a federation.

    ``agreement`` is the bytes of ``federation.json``, ``None`` if they are not available.
    """

    w3: Web3
    contract: Address
    store: ArtifactStore
    agreement: bytes | None = None


def verify_remote(where: RemoteFederation, *, seen_block: str | None = None) -> Findings:
    """Audit every round; nothing is written, and the federation may go on meanwhile.

    Parameters
    ----------
    seen_block
        A block hash seen earlier, hexadecimal, that must be in the chain.

    Raises
    ------
    ChainUnavailableError
        If the node does not answer.
    LedgerError
        If there is no federation at the address.
    """
    federation = Federation(where.w3, where.contract)
    findings = Findings()
    _ = federation.terms  # raises if another contract is there: an error, not a fault
    block = federation.block()
    findings.facts |= {
        "contract": federation.address,
        "chain_id": federation.chain_id,
        "head_block": block.number,
        "head_hash": "0x" + block.hash.hex(),
        "replayed": False,
    }
    check_contracts(federation, findings, block.number)
    if seen_block:
        check_seen_block(federation, seen_block, findings, federation.rpc.where)
    agreement = check_agreement(where.agreement, federation, findings)
    last = federation.head(block.number).last_opened
    audit_rounds(federation, where.store, last, agreement, findings)
    return findings


def audit_rounds(
    federation: Federation,
    store: ArtifactStore,
    last: RoundId,
    agreement: FederationAgreement | None,
    findings: Findings,
) -> None:
    """Audit every round up to ``last``, and the rule each was opened under."""
    ledger = ChainLedger(federation)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fedproof-verify") as pool:
        auditor = RoundAuditor(
            ledger,
            store,
            findings,
            lambda rule: scorer_of(rule, store),
            pool,
            sealed=agreement is not None and agreement.sealed,
        )
        for number in range(1, last + 1):
            auditor.audit(RoundId(number))
            _check_rule(ledger, RoundId(number), agreement, findings)


def check_agreement(
    data: bytes | None, federation: Federation, findings: Findings
) -> FederationAgreement | None:
    """Check that the agreement is the one whose digest the contract was deployed with."""
    findings.facts["agreement"] = data is not None
    if data is None:
        return None
    try:
        agreement = agreement_from(data, AGREEMENT)
    except ConfigError as error:
        findings.fault(None, AGREEMENT, "the agreement must be readable", str(error))
        return None
    for rule, found, expected in (
        (
            "its digest must be the config digest on chain",
            agreement.digest.hex(),
            federation.terms.config_digest.hex(),
        ),
        ("it must name the contract", agreement.domain, federation.domain),
        (
            "it must name the initial model",
            agreement.initial_model_root,
            federation.terms.initial_model_root.hex(),
        ),
    ):
        if found != expected:
            findings.fault(None, AGREEMENT, rule, f"found {found}, expected {expected}")
    return agreement


def _check_rule(
    ledger: ChainLedger,
    round_id: RoundId,
    agreement: FederationAgreement | None,
    findings: Findings,
) -> None:
    """Check that a sealed round was opened under the rule that was agreed on."""
    if agreement is None:
        return
    chain_round = ledger.round(round_id)
    if chain_round.status.has_result and chain_round.rule_hash != agreement.rule_hash:
        findings.fault(
            int(round_id),
            f"rule {chain_round.rule_hash.hex()}",
            "the rule must be the one agreed on before training",
            f"expected {agreement.rule_hash.hex()}",
        )
