"""Typed records of the federation contract's state.

Amounts in wei, times in seconds of chain time.
"""

from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where in the chain a log stands; ``log_index`` counts within the block."""

    block_number: int
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """Base of all events of all contracts."""

    place: LogPlace


@dataclass(frozen=True, slots=True)
class Terms:
    """What a federation agreed before its first round, fixed at deployment.

    Attributes
    ----------
    initial_model_root, config_digest
        32 bytes each; the model the first round must open on, and the digest of the federation's
        announced configuration.
    min_stake_wei, min_coordinator_bond_wei
        Above zero: the bond a member needs after joining, the coordinator's to open a round.
    round_budget_wei
        What one round may pay at most, as far as the pool reaches.
    min_open_s
        Seconds a round must have been open before it can be sealed.
    challenge_window_s
        Seconds between settling a round and making it final; zero turns challenges off.
    unbonding_period_s
        Seconds unbonded funds stay slashable. Longer than ``challenge_window_s + min_open_s``; a
        round's deadline is at most ``unbonding_period_s - challenge_window_s`` after its opening.
    contributor_slash_bps, coordinator_slash_bps
        Hundredths of a percent of bond and unbonding funds together.
    """

    coordinator: Address
    initial_model_root: bytes
    config_digest: bytes
    min_stake_wei: Wei
    min_coordinator_bond_wei: Wei
    round_budget_wei: Wei
    min_contributors: int
    min_open_s: int
    challenge_window_s: int
    unbonding_period_s: int
    contributor_slash_bps: int
    coordinator_slash_bps: int

    def to_abi(self) -> tuple[Any, ...]:
        """Return the constructor's struct."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @classmethod
    def from_abi(cls, values: tuple[Any, ...]) -> "Terms":
        """Read the contract's struct."""
        return cls(Address(to_checksum_address(values[0])), *values[1:])


@dataclass(frozen=True, slots=True)
class AccountState:
    """One account's money. ``index`` is its member number from 1, 0 if it never joined."""

    index: int
    bond_wei: Wei
    unbonding_wei: Wei
    matures_at: int
    credit_wei: Wei
    claimed_wei: Wei


@dataclass(frozen=True, slots=True)
class HeadState:
    """Where the live chain of rounds stands, and the pool. Round numbers are 0 for none.

    ``height`` and ``final_height`` count sealed live rounds; ``pledged_wei`` is what live rounds
    that are not final may still take from ``pool_wei``; ``reserve_wei`` is final and unclaimed.
    """

    last_opened: RoundId
    open_round: RoundId
    height: int
    head_round: RoundId
    model_root: bytes
    final_height: int
    final_round: RoundId
    rewards_root: bytes
    pool_wei: Wei
    pledged_wei: Wei
    reserve_wei: Wei
    member_count: int
    referee: Address


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A block as far as the binding needs it; ``base_fee_wei`` is per gas."""

    number: int
    hash: bytes
    timestamp: int
    base_fee_wei: Wei
