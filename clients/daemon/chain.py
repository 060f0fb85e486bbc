"""The participant's connection to the chain, and checks that it is the federation it joined.

Chain, contract and terms are compared with ``federation.json`` before anything is signed or sent,
so that the node's operator cannot move the participant into another federation (ADR 63).
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from clients.daemon.history import BlockHistory
from clients.mod.chain_contract import FederationChainView
from clients.mod.chain_view import CachedChainView
from contracts.binding.artifacts import load_artifact
from contracts.binding.federation import Federation
from contracts.binding.http_provider import web3_at
from contracts.binding.reader import FederationReader, ForeignContractError
from contracts.binding.records import Terms
from contracts.binding.rpc import Rpc, rpc_of
from contracts.binding.transactions import Transactor
from coordinator.protocol.errors import (
    ConfigError,
    LedgerError,
    TransactionRevertedError,
)
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Address, RoundId
from coordinator.settings.agreement import FederationAgreement

RPC_TIMEOUT_S = 15.0


class WrongFederationError(ConfigError):
    """The node's chain or contract is not the agreed one."""


class NotDeployedError(LedgerError):
    """There is no contract at the agreed address, or not yet."""


class FreshView(CachedChainView):
    """Reads the chain each time, as minutes may pass between two messages about one round."""

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as the contract stores it now."""
        return self.refreshed(round_id)


@dataclass(frozen=True)
class ChainLink:
    """A checked connection to the federation's contract."""

    federation: Federation

    @property
    def view(self) -> FreshView:
        """The chain as the participant's checks read it."""
        return FreshView(FederationChainView(self.federation))


def connect(url: str, ca: Path | None, agreement: FederationAgreement) -> ChainLink:
    """Connect to a node, and check that it has the agreed federation.

    Raises
    ------
    WrongFederationError
        If it has another; names the values found and agreed.
    NotDeployedError
        If there is no code at the contract's address.
    ChainUnavailableError
        If the node does not answer.
    """
    rpc = rpc_of(web3_at(url, ca_file=ca, timeout_s=RPC_TIMEOUT_S))
    check_federation(rpc, agreement)
    transactor = Transactor(rpc)
    w3 = web3_at(url, ca_file=ca, timeout_s=RPC_TIMEOUT_S)
    return ChainLink(Federation(w3, agreement.domain.verifying_contract, transactor=transactor))


def check_federation(rpc: Rpc, agreement: FederationAgreement) -> None:
    """Check chain id, contract code and terms; raises as :func:`connect`."""
    chain_id = rpc.quantity("eth_chainId")
    if chain_id != agreement.chain_id:
        raise WrongFederationError(
            f"{rpc.where}: chain {chain_id}, the federation {agreement.name} is on chain "
            f"{agreement.chain_id}"
        )
    address = agreement.domain.verifying_contract
    code = rpc.code(address)
    if not code:
        raise NotDeployedError(f"{rpc.where}: there is no contract at {address} (yet)")
    terms, expected = _terms_and_code(rpc, address)
    if code != expected:
        raise WrongFederationError(
            f"{rpc.where}: the contract at {address} is not the federation this version ships"
        )
    pairs = {
        "agreement": (terms.config_digest.hex(), agreement.digest.hex()),
        "initial model": (terms.initial_model_root.hex(), agreement.initial_model_root),
    }
    for term, (deployed, agreed) in pairs.items():
        if deployed != agreed:
            raise WrongFederationError(
                f"{rpc.where}: the contract at {address} was deployed for {term} {deployed}, "
                f"federation.json gives {agreed}"
            )


def _terms_and_code(rpc: Rpc, address: Address) -> tuple[Terms, bytes]:
    """Return a contract's terms, and the code that a federation with these terms has.

    Only an answer says something of the contract; a refusal does not, whatever it is.
    """
    reader = FederationReader(rpc, address)
    try:
        terms = reader.terms
        creation = load_artifact("federation").creation_code([terms.to_abi()])
    except (ForeignContractError, ValueError) as error:
        raise _no_federation(rpc, address, error) from error
    try:
        # Calling the constructor returns the code it would deploy with these terms.
        return terms, rpc.data("eth_call", {"data": "0x" + creation.hex()}, "latest")
    except TransactionRevertedError as error:
        raise _no_federation(rpc, address, error) from error


def _no_federation(rpc: Rpc, address: Address, error: Exception) -> WrongFederationError:
    return WrongFederationError(f"{rpc.where}: the contract at {address} is no federation: {error}")


class HistoryGuard:
    """Checks that the chain still has the blocks that were seen; thread-safe."""

    def __init__(self, federation: FederationReader, history: BlockHistory) -> None:
        self._federation = federation
        self._history = history
        self._lock = threading.Lock()

    def check(self) -> int:
        """Compare the chain with the blocks seen; return the number of its latest block.

        Raises
        ------
        HistoryLostError
            While a remembered block is missing on the chain.
        ChainUnavailableError, StoreError
            If the node does not answer, or the file cannot be written.
        """
        with self._lock:
            head = self._federation.block()

            def hash_at(number: int) -> bytes | None:
                return head.hash if number == head.number else self._hash_at(number)

            self._history.check(head.number, hash_at)
            return head.number

    def now(self) -> int:
        """Return the time of the latest block, in seconds."""
        return self._federation.now()

    def _hash_at(self, number: int) -> bytes | None:
        return self._federation.rpc.block_hash(number)
