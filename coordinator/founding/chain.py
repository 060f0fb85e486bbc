"""Creates a new federation's embedded chain, with all starting balances in its genesis."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding.calls import Call
from contracts.binding.http_provider import web3_at
from contracts.binding.rpc import rpc_of
from contracts.binding.transactions import Transactor
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from contracts.node.timing import wall_clock
from coordinator.ledger.deployment import Deployment, deploy_federation
from coordinator.protocol.amounts import ETHER
from coordinator.protocol.errors import ChainUnavailableError, ConfigError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.founding import Founding

COORDINATOR_GAS_WEI = Wei(1_000 * ETHER)
TREASURY_SHARES = 10_000
"""Number of later participants whose starting balance the treasury can pay."""
_TRANSFER_GAS = 21_000


def genesis_for(
    founding: Founding,
    deployment: Deployment,
    treasury: Address,
    participants: Sequence[Address],
) -> GenesisConfig:
    """Return a genesis, starting now, in which all accounts can pay their bond, pool and gas.

    Raises
    ------
    ConfigError
        If the starting balance does not cover a participant's bond.
    """
    start, least = founding.chain.starting_balance_wei, founding.stake.minimum_wei
    if start <= least:
        raise ConfigError(
            f"chain.starting_balance_wei = {start} must be more than stake.minimum_wei = {least}: "
            "participants pay their bond and gas from it"
        )
    coordinator = deployment.coordinator_bond_wei + deployment.pool_wei + COORDINATOR_GAS_WEI
    alloc = {address: Wei(start) for address in participants}
    alloc[treasury] = Wei(TREASURY_SHARES * start)
    alloc[deployment.terms.coordinator] = Wei(coordinator)
    return GenesisConfig(alloc=alloc, chain_id=founding.chain.chain_id, timestamp=wall_clock())


def deploy_embedded(
    path: Path, genesis: GenesisConfig, coordinator: LocalAccount, deployment: Deployment
) -> None:
    """Start an embedded chain and deploy the federation on it."""
    node = EmbeddedNode.create_or_open(path, genesis, clock=wall_clock)
    with node, in_process(node) as w3:
        deploy_federation(w3, coordinator, deployment, chain_id=genesis.chain_id)


@contextmanager
def in_process(node: EmbeddedNode) -> Iterator[Web3]:
    """Connect to a node in this process; each transaction is mined at once."""
    dispatcher = Dispatcher(node)
    try:
        yield Web3(EmbeddedProvider(dispatcher))
    finally:
        dispatcher.close()


@contextmanager
def chain_of_service(
    chain: Path, url: str, ca_file: Path | None, *, read_only: bool = False
) -> Iterator[Web3]:
    """Connect to an embedded chain: through the service if it runs, else to its file.

    ``read_only`` leaves the file unchanged.

    Raises
    ------
    ChainUnavailableError
        If another process has the file open and does not answer at ``url``.
    """
    try:
        if read_only:
            node = EmbeddedNode.open_read_only(chain)
        else:
            node = EmbeddedNode.create_or_open(chain, clock=wall_clock)
    except ChainUnavailableError:
        yield web3_at(url, ca_file=ca_file)
        return
    with node, in_process(node) as w3:
        yield w3


def send_wei(w3: Web3, sender: LocalAccount, to: Address, amount_wei: Wei) -> None:
    """Send an amount and return once it is mined.

    Raises
    ------
    LedgerError
        If the node refuses, because of a small balance for example.
    """
    transactor = Transactor(rpc_of(w3))
    call = Call("transfer", b"", amount_wei, _TRANSFER_GAS, f"send {amount_wei} wei to {to}")
    transactor.send(transactor.prepare(sender, call, to))


def balance_wei(w3: Web3, address: Address) -> Wei:
    """Return an account's balance in wei."""
    return Wei(rpc_of(w3).quantity("eth_getBalance", address, "latest"))
