"""Opens the service's chain: its own embedded node, or another node by its URL.

The rest of the service sees the same contract, ledger and referee for both. Not handled: serving
the embedded node to others (``coordinator.http``).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding.federation import Federation
from contracts.binding.http_provider import web3_at
from contracts.binding.reader import FederationReader
from contracts.binding.referee import Referee
from contracts.binding.rpc import next_time
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.ledger.deployment import deploy_federation, read_deployment
from coordinator.protocol.errors import ChainUnavailableError, ConfigError
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.coordinator import CoordinatorChain

_EXTERNAL_WAIT_S: Final = 60.0
_RETRY_S: Final = 1.0


class SteadyClock:
    """Chain time for an embedded node, which never goes back or stops.

    It starts at the later of the machine's clock and the chain's head, and then follows the
    monotonic clock. So setting the machine's clock, before the start or while the service runs,
    does not extend a deadline.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()

    def __call__(self) -> int:
        """Return the time in seconds."""
        return int(self._ahead_s + self._monotonic())

    def not_before(self, timestamp: int) -> None:
        """Continue from the chain's head if that is later than the current time."""
        self._ahead_s = max(self._ahead_s, timestamp - self._monotonic())


@dataclass(frozen=True)
class ServiceChain:
    """The service's chain; ``node`` and ``dispatcher`` are ``None`` unless it is embedded."""

    federation: Federation
    referee: Referee
    ledger: ChainLedger
    node: EmbeddedNode | None
    dispatcher: Dispatcher | None

    @property
    def is_embedded(self) -> bool:
        """Whether this service is the chain's node."""
        return self.node is not None

    @property
    def reader(self) -> FederationReader:
        """A reader of the contract, which cannot send transactions."""
        return FederationReader(self.federation.rpc, self.federation.address)

    def close(self) -> None:
        """Stop mining and close the chain's file. May be called again."""
        if self.dispatcher is not None:
            self.dispatcher.close()
        if self.node is not None:
            self.node.close()


def open_service_chain(
    settings: CoordinatorChain,
    agreement: FederationAgreement,
    account: LocalAccount,
    state: Path,
    ca_file: Path | None,
    stopping: threading.Event | None = None,
) -> ServiceChain:
    """Open the chain, and deploy the contracts of the federation that are missing on it.

    Parameters
    ----------
    account
        The coordinator's account.
    state
        The service's folder, whose lock the caller holds.
    ca_file
        Certificate of the authority that signed an external node's certificate.
    stopping
        Ends the wait for an external node when set.

    Raises
    ------
    ConfigError
        If there is no chain, or key and deployment do not belong together.
    LedgerError
        If the chain or the contract on it is another federation's, or the coordinator's balance is
        too small; the message says how much is missing.
    ChainUnavailableError
        If an external node does not answer for a minute.
    """
    if settings.rpc:
        stopping = stopping or threading.Event()
        return _external(settings.rpc, agreement, account, state, ca_file, stopping)
    path = state / "chain" / "chain.sqlite"
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no chain; expected the folder that 'fedproof federation init' "
            'made, or [chain] rpc = "..." of another node'
        )
    clock = SteadyClock()
    node = EmbeddedNode.create_or_open(path, clock=clock)
    try:
        clock.not_before(node.head.timestamp)
        dispatcher = Dispatcher(node, mining="interval", interval_s=settings.block_interval_s)
        w3 = Web3(EmbeddedProvider(dispatcher))
        federation = _federation(w3, agreement, account, state)
        return _assembled(w3, federation, account, node, dispatcher)
    except BaseException:
        node.close()
        raise


def _external(
    url: str,
    agreement: FederationAgreement,
    account: LocalAccount,
    state: Path,
    ca_file: Path | None,
    stopping: threading.Event,
) -> ServiceChain:
    w3 = web3_at(url, ca_file=ca_file)
    end = time.monotonic() + _EXTERNAL_WAIT_S
    while True:
        try:
            return _assembled(w3, _federation(w3, agreement, account, state), account, None, None)
        except ChainUnavailableError:
            if time.monotonic() >= end or stopping.wait(_RETRY_S):
                raise


def _federation(
    w3: Web3, agreement: FederationAgreement, account: LocalAccount, state: Path
) -> Federation:
    deployment = read_deployment(state / "deployment.json")
    if deployment.terms.config_digest != agreement.digest:
        raise ConfigError(
            f"{state / 'deployment.json'}: made for the agreement "
            f"{deployment.terms.config_digest.hex()}, but federation.json is "
            f"{agreement.digest.hex()}"
        )
    federation = deploy_federation(w3, account, deployment, chain_id=agreement.chain_id)
    if federation.address != agreement.contract:
        raise ConfigError(
            f"federation.json names the contract {agreement.contract}, but that of the "
            f"coordinator {account.address} is {federation.address}"
        )
    return federation


def _assembled(
    w3: Web3,
    federation: Federation,
    account: LocalAccount,
    node: EmbeddedNode | None,
    dispatcher: Dispatcher | None,
) -> ServiceChain:
    referee = Referee(w3, federation.head().referee, transactor=federation.transactor)
    rpc = federation.rpc
    ledger = ChainLedger(federation, account, next_time=lambda: next_time(rpc))
    return ServiceChain(federation, referee, ledger, node, dispatcher)
