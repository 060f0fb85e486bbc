"""Typed records of the federation contract's state.

Amounts in wei, times in seconds of chain time.
"""

from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """A log's place in the chain; ``log_index`` counts within the block."""

    block_number: int
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """Base of all events of all contracts."""

    place: LogPlace


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a federation, fixed at deployment.

    Attributes
    ----------
    initial_model_root, config_digest
        32 bytes each; the root of the first round's base model, and the digest of the federation's
        announced configuration.
    min_stake_wei, min_coordinator_bond_wei
        Positive; the least bond of a member, and of the coordinator to open a round.
    round_budget_wei
        The most that one round pays, if the pool covers it.
    min_open_s
        Least seconds between opening and sealing a round.
    challenge_window_s
        Seconds between settling a round and making it final; zero turns challenges off.
    unbonding_period_s
        Seconds for which unbonded funds stay slashable. Longer than ``challenge_window_s +
        min_open_s``; a round's deadline is at most ``unbonding_period_s - challenge_window_s``
        after its opening.
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
    """The state of the chain of rounds, and of the pool. Round numbers are 0 for none.

    ``height`` and ``final_height`` count sealed live rounds; ``pledged_wei`` is the part of
    ``pool_wei`` that live rounds may still pay before they are final; ``reserve_wei`` is final and
    unclaimed.
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
    """The fields of a block that the binding uses; ``base_fee_wei`` is per gas."""

    number: int
    hash: bytes
    timestamp: int
    base_fee_wei: Wei
