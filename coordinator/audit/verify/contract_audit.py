"""Audits the deployed contracts through any node: their code, and whether the balance covers debts.

Reads JSON-RPC only, so it works on a chain rebuilt here and on one behind a URL. In the second case
the node's own account of its state is trusted.
"""

from typing import Any

from eth_abi.exceptions import DecodingError

from contracts.binding.artifacts import load_artifact
from contracts.binding.events import FederationCreated, Slashed
from contracts.binding.reader import FederationReader
from contracts.binding.referee import RefereeReader
from contracts.binding.referee_calls import EXAMINERS
from coordinator.audit.verify.findings import Findings
from coordinator.protocol.errors import ChainUnavailableError, FedproofError
from coordinator.protocol.types import Address


def check_contracts(federation: FederationReader, findings: Findings, block: int) -> None:
    """Check the federation's code, its referee's, and its balance as of ``block``."""
    _check_code(federation, findings)
    _check_referee(federation, findings)
    _check_money(federation, findings, block)


def check_seen_block(
    federation: FederationReader, seen: str, findings: Findings, artifact: str
) -> None:
    """Check that a block hash seen earlier is still in the chain: history was not rewritten."""
    digits = seen.removeprefix("0x").lower()
    block = None
    if len(digits) == 64 and not set(digits) - set("0123456789abcdef"):
        block = federation.rpc.fields("eth_getBlockByHash", f"0x{digits}", False)
    if block is None:  # also if the text is not a hash at all
        rule = "a block that was seen must still be in the chain"
        findings.fault(None, artifact, rule, f"no block has the hash {seen}")


def _check_code(federation: FederationReader, findings: Findings) -> None:
    """Check that the contract is this version's, deployed with the terms it states."""
    expected = load_artifact("federation").creation_code([federation.terms.to_abi()])
    created = next((e for e in federation.events() if isinstance(e, FederationCreated)), None)
    deployed = None
    if created is not None:
        digest = "0x" + created.place.transaction_hash.hex()
        deployed = federation.rpc.fields("eth_getTransactionByHash", digest)
    if deployed is None or deployed.data("input") != expected:
        findings.fault(
            None,
            f"contract {federation.address}",
            "the contract must be the federation this version ships",
            "the deployment's bytes differ",
        )


def _check_referee(federation: FederationReader, findings: Findings) -> None:
    """Check that the referee, if the contract has one, is the one this version ships."""
    address = federation.head().referee
    if not int(address, 16):
        return
    rule = "the referee and its examiners must be those this version ships"
    rpc = federation.rpc
    try:
        settings = RefereeReader(rpc, address).settings
        examiners = (settings.aggregate_examiner, settings.record_examiner)
        terms = (*examiners, settings.deposit_wei, settings.answer_s)
        expected: list[tuple[Address, str, list[Any]]] = [
            *(
                (at, name, [federation.address])
                for at, name in zip(examiners, EXAMINERS, strict=True)
            ),
            (address, "referee", [federation.address, *terms]),
        ]
        for at, name, arguments in expected:
            # Calling the constructor returns the code it would deploy with these terms.
            code = "0x" + load_artifact(name).creation_code(arguments).hex()
            if rpc.data("eth_call", {"data": code}, "latest") != rpc.code(at):
                detail = "the deployment's bytes differ"
                findings.fault(None, f"contract {at} ({name})", rule, detail)
    except ChainUnavailableError:
        raise  # says nothing about the referee
    except (FedproofError, DecodingError) as error:  # the contract there is not a referee
        findings.fault(None, f"contract {address}", rule, str(error))


def _check_money(federation: FederationReader, findings: Findings, block: int) -> None:
    """Check that the contract holds what it owes: bonds, bounties, pool, unclaimed rewards.

    All amounts are read as of one block, since a live federation changes meanwhile.
    """
    head = federation.head(block)
    provers = [e.prover for e in federation.events(0, block) if isinstance(e, Slashed)]
    members = federation.members(head.member_count)
    accounts = [*members, federation.terms.coordinator, *provers]
    states = [federation.account(address, block) for address in dict.fromkeys(accounts)]
    owed = sum(s.bond_wei + s.unbonding_wei + s.credit_wei for s in states)
    owed += head.pool_wei + head.reserve_wei
    balance = federation.rpc.quantity("eth_getBalance", federation.address, hex(block))
    findings.facts["balance_wei"] = balance
    if balance < owed:
        findings.fault(
            None,
            f"contract {federation.address}",
            "the balance must cover bonds, unbonding funds, bounties, pool and rewards",
            f"holds {balance} wei, owes {owed}",
        )
