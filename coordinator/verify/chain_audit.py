"""Audits a run's chain: re-executes every block, and checks what was deployed on it.

What comes back is a read-only ledger over the *rebuilt* chain, so nothing that the rest of the
audit reads was taken from the file on trust.
"""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import DecodingError
from web3 import Web3

from contracts.artifacts import load_artifact
from contracts.chain.genesis import GenesisConfig
from contracts.chain.node import EmbeddedNode
from contracts.chain.provider import EmbeddedProvider
from contracts.chain.replica import replay
from contracts.chain.rpc import Dispatcher
from contracts.events import FederationCreated, Slashed
from contracts.federation import Federation
from contracts.records import Terms
from contracts.referee import RefereeReader
from contracts.referee_calls import EXAMINERS
from coordinator.adapters.ledger import ChainLedger
from coordinator.adapters.run_folder import RunFolder
from coordinator.core.errors import FedproofError
from coordinator.core.types import Address, JsonObject
from coordinator.verify.findings import Findings

ARTIFACT = "chain/chain.sqlite"


@dataclass(frozen=True, slots=True)
class AuditedChain:
    """A chain whose every block was executed again, and the federation on it."""

    node: EmbeddedNode
    federation: Federation
    ledger: ChainLedger
    terms: Terms


def audit_chain(folder: RunFolder, findings: Findings) -> AuditedChain | None:
    """Rebuild the run's chain; ``None`` if it cannot be used, with the faults saying why."""
    try:
        coordinates = folder.read_json(folder.federation)
        genesis = GenesisConfig.from_json(json.dumps(coordinates["genesis"]))
        contract = Address(coordinates["contract"])
    except (FedproofError, KeyError, TypeError, ValueError) as error:
        rule = "the run must say where its chain's commitments are"
        findings.fault(None, "federation.json", rule, f"{type(error).__name__}: {error}")
        return None
    try:
        replayed = replay(folder.chain, genesis)
        dispatcher = Dispatcher(replayed.node, dev=False)
        federation = Federation(Web3(EmbeddedProvider(dispatcher)), contract)
        terms = federation.terms
    except FedproofError as error:
        findings.fault(None, ARTIFACT, "every block must re-execute to its own hash", str(error))
        return None
    findings.facts |= {
        "contract": contract,
        "chain_id": genesis.chain_id,
        "head_block": replayed.head_number,
        "head_hash": "0x" + replayed.head_hash.hex(),
        "transactions": replayed.transactions,
    }
    chain = AuditedChain(replayed.node, federation, ChainLedger(federation), terms)
    _check_head(coordinates, findings)
    _check_code(chain, findings)
    _check_referee(chain, findings)
    _check_money(chain, findings)
    return chain


def check_seen_block(chain: AuditedChain, seen: str, findings: Findings) -> None:
    """Check that a block hash somebody remembers is in the chain: history was not rewritten."""
    found = None
    with contextlib.suppress(ValueError):  # not hexadecimal: no block has that hash either
        found = chain.node.get_block(bytes.fromhex(seen.removeprefix("0x")))
    if found is None:
        rule = "a block that was seen must still be in the chain"
        findings.fault(None, ARTIFACT, rule, f"no block has the hash {seen}")


def _check_head(coordinates: JsonObject, findings: Findings) -> None:
    recorded = coordinates.get("head_hash")
    if recorded is not None and recorded != findings.facts["head_hash"]:
        findings.fault(
            None,
            ARTIFACT,
            "the chain must end at the recorded head",
            f"found {findings.facts['head_hash']}, federation.json says {recorded}",
        )


def _check_code(chain: AuditedChain, findings: Findings) -> None:
    """Check that the contract is this version's, deployed with the terms it states."""
    events = list(chain.federation.events())
    expected = load_artifact("federation").creation_code([chain.terms.to_abi()])
    created = next((e for e in events if isinstance(e, FederationCreated)), None)
    deployed = chain.node.get_transaction(created.place.transaction_hash) if created else None
    if deployed is None or deployed.data != expected:
        findings.fault(
            None,
            f"contract {chain.federation.address}",
            "the contract must be the federation this version ships",
            "the deployment's bytes differ",
        )


def _check_referee(chain: AuditedChain, findings: Findings) -> None:
    """Check that whoever may convict the coordinator is this version's referee, if anybody is."""
    address = chain.federation.head().referee
    if not int(address, 16):
        return
    rule = "the referee and its examiners must be those this version ships"
    rpc, federation = chain.federation.rpc, chain.federation.address
    try:
        settings = RefereeReader(rpc, address).settings
        examiners = (settings.aggregate_examiner, settings.record_examiner)
        terms = (*examiners, settings.deposit_wei, settings.answer_s)
        expected: list[tuple[Address, str, list[Any]]] = [
            *((at, name, [federation]) for at, name in zip(examiners, EXAMINERS, strict=True)),
            (address, "referee", [federation, *terms]),
        ]
        for at, name, arguments in expected:
            # The constructor's result is the code it would put there, with these terms in it.
            code = "0x" + load_artifact(name).creation_code(arguments).hex()
            if rpc.request("eth_call", {"data": code}, "latest") != rpc.request(
                "eth_getCode", at, "latest"
            ):
                detail = "the deployment's bytes differ"
                findings.fault(None, f"contract {at} ({name})", rule, detail)
    except (FedproofError, DecodingError) as error:  # it is no referee
        findings.fault(None, f"contract {address}", rule, str(error))


def _check_money(chain: AuditedChain, findings: Findings) -> None:
    """Check that the contract holds what it owes: bonds, bounties, pool, unclaimed rewards."""
    head = chain.federation.head()
    provers = [e.prover for e in chain.federation.events() if isinstance(e, Slashed)]
    accounts = [*chain.federation.members(), chain.terms.coordinator, *provers]
    states = [chain.federation.account(address) for address in dict.fromkeys(accounts)]
    owed = sum(s.bond_wei + s.unbonding_wei + s.credit_wei for s in states)
    owed += head.pool_wei + head.reserve_wei
    balance = chain.node.get_balance(chain.federation.address)
    findings.facts["balance_wei"] = balance
    if balance < owed:
        findings.fault(
            None,
            f"contract {chain.federation.address}",
            "the balance must cover bonds, unbonding funds, bounties, pool and rewards",
            f"holds {balance} wei, owes {owed}",
        )
