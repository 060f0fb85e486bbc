"""Keys and starting balances of a simulated federation, all derived from the experiment's seed.

These keys are not secret: anyone with the config can derive them, so that a simulation repeats to
the same block hashes. A real participant's key comes from ``coordinator.local.keyfile``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sha3
from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts.node.genesis import GenesisConfig
from coordinator.protocol.amounts import ETHER
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import Address, Wei, address_bytes
from simulations.experiment.base import SimulatedFederation

GENESIS_TIME = 1_767_225_600  # 2026-01-01T00:00:00Z
_FOR_GAS = Wei(100 * ETHER)
EXTENSION_WEI = Wei(99 * ETHER)
"""What the coordinator can add to the pool of a run: all but far more than the gas it will need."""


@dataclass(frozen=True)
class Identities:
    """The accounts of one simulated federation; contributor ``i`` is that of client ``i``."""

    coordinator: LocalAccount
    contributors: Sequence[LocalAccount]
    watcher: LocalAccount

    @property
    def addresses(self) -> list[Address]:
        """Return the contributors' addresses, by client."""
        return [Address(account.address) for account in self.contributors]


def identities_of(experiment: SimulatedFederation) -> Identities:
    """Derive every account of an experiment."""
    return Identities(
        coordinator=_account(experiment.seed, "coordinator"),
        contributors=[
            _account(experiment.seed, f"contributor {client}")
            for client in range(experiment.clients)
        ],
        watcher=_account(experiment.seed, "watcher"),
    )


def _account(seed: int, name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(private_key(seed, name))
    return account


def private_key(seed: int, name: str) -> bytes:
    """Return the 32-byte key of a simulation's account, by name."""
    text = f"fedproof simulation key: seed {seed}: {name}"
    return bytes(sha3.keccak_256(text.encode()).digest())


def genesis_of(experiment: SimulatedFederation, identities: Identities) -> GenesisConfig:
    """Return a genesis with balances for all bonds, the pool, deposits and gas."""
    stake, rewards = experiment.stake, experiment.rewards
    coordinator = stake.coordinator_bond_wei + rewards.pool_wei + _FOR_GAS
    alloc = {Address(identities.coordinator.address): Wei(coordinator)}
    for address in identities.addresses:
        alloc[address] = Wei(stake.minimum_wei + _FOR_GAS)
    if experiment.watching.enabled:
        alloc[Address(identities.watcher.address)] = _FOR_GAS
    if experiment.watching.address:
        alloc[checksum_address(address_bytes(experiment.watching.address))] = _FOR_GAS
    return GenesisConfig(alloc=alloc, chain_id=experiment.chain.chain_id, timestamp=GENESIS_TIME)
