"""Puts a federation on a chain: contract, referee, bond and pool, step by step.

The coordinator's first seven transactions, always in this order: the federation, its two
examiners, the referee, naming the referee, the bond, the pool. A contract's address follows from
its deployer and the number of the transaction, so everybody knows all four before there is a chain
to look at, and a process killed anywhere goes on with the step that is missing: what is done is
read from the chain. The same on the embedded node and on any other.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import rlp
from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding import calls, referee_calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.rpc import Rpc, rpc_of
from contracts.binding.transactions import PRIORITY_FEE_WEI, Transactor
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import (
    ChainUnavailableError,
    ConfigError,
    LedgerError,
    VerificationError,
)
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import Address, JsonObject, Wei, address_bytes

_FORMAT: Final = "fedproof-deployment-1"
_CONTRACTS: Final = ("federation", *referee_calls.EXAMINERS, "referee")
_PENDING_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a federation is deployed with.

    Attributes
    ----------
    terms
        The contract's own; ``terms.coordinator`` is who deploys.
    dispute_deposit_wei, answer_s
        The referee's: what a question costs, and the seconds there are to answer it.
    coordinator_bond_wei, pool_wei
        What the coordinator bonds and puts into the pool; no pool leaves the last step out.
    """

    terms: Terms
    dispute_deposit_wei: Wei
    answer_s: int
    coordinator_bond_wei: Wei
    pool_wei: Wei

    def to_json(self) -> bytes:
        """Return canonical JSON; amounts are decimal text, as other readers keep 53 bits only."""
        return canonical_json({"format": _FORMAT, **_plain(self), "terms": _plain(self.terms)})


@dataclass(frozen=True, slots=True)
class DeployedAt:
    """Where a coordinator's contracts are, or will be."""

    federation: Address
    aggregate_examiner: Address
    record_examiner: Address
    referee: Address


def read_deployment(path: Path) -> Deployment:
    """Read back what :meth:`Deployment.to_json` wrote.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds something else; names file and key.
    """
    try:
        raw: Any = parse_json(path.read_bytes(), str(path))
        if raw["format"] != _FORMAT:
            raise ConfigError(f"{path}: format {raw['format']!r}, expected {_FORMAT!r}")
        values = _typed(Deployment, raw)
        return Deployment(**{**values, "terms": Terms(**_typed(Terms, raw["terms"]))})
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: malformed deployment: {error!r}") from error


def _plain(record: Deployment | Terms) -> JsonObject:
    """Return a record's fields as JSON has them: numbers as text, bytes as hexadecimal."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: value.hex() if isinstance(value, bytes) else str(value)
        for name, value in values.items()
    }


def _typed(kind: type[Deployment] | type[Terms], raw: JsonObject) -> dict[str, Any]:
    """Return a record's arguments from what :func:`_plain` made of them."""
    convert: dict[Any, Callable[[Any], Any]] = {bytes: bytes.fromhex, Address: str, Terms: dict}
    return {field.name: convert.get(field.type, int)(raw[field.name]) for field in fields(kind)}


def contract_address(deployer: Address, nonce: int = 0) -> Address:
    """Return where an account's transaction puts its contract (keccak of RLP, CREATE)."""
    return checksum_address(Web3.keccak(rlp.encode([address_bytes(deployer), nonce]))[12:])


def deployed_at(coordinator: Address) -> DeployedAt:
    """Return the addresses of a federation by the fresh account that deploys it."""
    return DeployedAt(*(contract_address(coordinator, nonce) for nonce in range(len(_CONTRACTS))))


def deploy_federation(
    w3: Web3, coordinator: LocalAccount, deployment: Deployment, *, chain_id: int | None = None
) -> Federation:
    """Do the steps that are missing, and return the federation.

    Parameters
    ----------
    w3
        Any node; the embedded one in this process mines each step into a block of its own.
    coordinator
        An account whose first transactions these are.
    chain_id
        The chain that was agreed on; ``None`` takes whatever chain the node has.

    Raises
    ------
    ConfigError
        If the coordinator is not the one of the terms.
    LedgerError
        If the node has another chain, the account lacks money (the message has the address, what
        is needed and what is there), its transactions were spent on something else, or the contract
        at its address has other terms.
    ChainUnavailableError
        If the node does not answer, or does not mine.
    """
    address = Address(coordinator.address)
    if address != deployment.terms.coordinator:
        raise ConfigError(
            f"the key is that of {address}, but the federation's coordinator is "
            f"{deployment.terms.coordinator}"
        )
    transactor = Transactor(rpc_of(w3))
    rpc = transactor.rpc
    if chain_id is not None and transactor.chain_id != chain_id:
        raise LedgerError(f"{rpc.where}: chain id is {transactor.chain_id}, expected {chain_id}")
    done = _mined_transactions(rpc, address)
    _require_contracts(rpc, address, done)
    if done == 0:
        _require_money(rpc, address, _all_steps(address, deployment))
        Federation.deploy(w3, coordinator, deployment.terms, transactor=transactor)
        done = 1
    federation = Federation(w3, contract_address(address), transactor=transactor)
    _require_terms(federation, deployment.terms)
    missing = list(_missing_steps(federation, address, deployment, done))
    if missing:
        _require_money(rpc, address, missing)
    for call in missing:
        to = None if call.function == "deploy" else federation.address
        federation.send(transactor.prepare(coordinator, call, to))
    return federation


def needed_wei(rpc: Rpc, steps: Sequence[Call]) -> Wei:
    """Return what an account must own to send these: their values, and gas at its dearest.

    Gas is the sum of the limits at twice the base fee of now, and the tip.
    """
    price = 2 * rpc.block().base_fee_wei + PRIORITY_FEE_WEI
    return Wei(sum(call.value_wei + call.gas_limit * price for call in steps))


def _all_steps(coordinator: Address, deployment: Deployment) -> list[Call]:
    """Return every transaction of a deployment, in order."""
    at = deployed_at(coordinator)
    creation = load_artifact("federation").creation_code([deployment.terms.to_abi()])
    return [
        Call("deploy", creation, Wei(0), calls.DEPLOY_GAS_LIMIT, "deploy federation"),
        *(referee_calls.deploy_examiner(n, at.federation) for n in referee_calls.EXAMINERS),
        referee_calls.deploy_referee(
            at.federation,
            (at.aggregate_examiner, at.record_examiner),
            deployment.dispute_deposit_wei,
            deployment.answer_s,
        ),
        calls.set_referee(at.referee),
        calls.bond_coordinator(deployment.coordinator_bond_wei),
        *([calls.fund(deployment.pool_wei)] if deployment.pool_wei else []),
    ]


def _missing_steps(
    federation: Federation, coordinator: Address, deployment: Deployment, done: int
) -> Iterator[Call]:
    """Yield the calls that are left after the federation itself, in order.

    Read from the chain, since a note on disk can be older than the chain (ADR 0120). ``done``
    counts the coordinator's transactions. Before the first round the state counts as well: a step
    may have been mined and have failed.
    """
    head, account = federation.head(), federation.account(coordinator)
    fresh = head.last_opened == 0
    achieved = {
        "set_referee": bool(int(head.referee, 16)),
        "bond_coordinator": account.bond_wei + account.unbonding_wei > 0,
        "fund": head.pool_wei > 0,
    }
    for nonce, call in enumerate(_all_steps(coordinator, deployment)):
        if nonce >= done or (fresh and not achieved.get(call.function, True)):
            yield call


def _mined_transactions(rpc: Rpc, address: Address) -> int:
    """Return how many transactions of an account are mined, once none of them is waiting."""
    end = time.monotonic() + _PENDING_TIMEOUT_S
    while True:
        mined = rpc.quantity("eth_getTransactionCount", address, "latest")
        sent = rpc.quantity("eth_getTransactionCount", address, "pending")
        if sent <= mined:
            return mined
        if time.monotonic() >= end:
            raise ChainUnavailableError(
                f"{rpc.where}: {sent - mined} transactions of {address} not mined after "
                f"{_PENDING_TIMEOUT_S:g} s"
            )
        time.sleep(_POLL_S)


def _require_contracts(rpc: Rpc, address: Address, done: int) -> None:
    """Refuse an account whose first transactions were not these deployments."""
    for nonce, name in enumerate(_CONTRACTS[:done]):
        place = contract_address(address, nonce)
        if not rpc.code(place):
            raise LedgerError(
                f"{rpc.where}: transaction {nonce} of {address} did not deploy the {name} (nothing "
                f"at {place}); a federation needs an account that has sent nothing else"
            )


def _require_money(rpc: Rpc, address: Address, steps: Sequence[Call]) -> None:
    needed = needed_wei(rpc, steps)
    found = rpc.quantity("eth_getBalance", address, "latest")
    if found < needed:
        raise LedgerError(
            f"{rpc.where}: the coordinator {address} needs {needed} wei to deploy, bond and fund, "
            f"found {found} wei: send it {needed - found} wei"
        )


def _require_terms(federation: Federation, expected: Terms) -> None:
    """Refuse a contract that was deployed for another agreement."""
    for field in fields(Terms):
        found, wanted = getattr(federation.terms, field.name), getattr(expected, field.name)
        if found != wanted:
            shown = [v.hex() if isinstance(v, bytes) else v for v in (found, wanted)]
            raise LedgerError(
                f"{federation.rpc.where}: contract {federation.address} has {field.name} "
                f"{shown[0]}, expected {shown[1]}: it is another federation's"
            )
