"""The federation's events as records. Replaying them rebuilds the contract's storage.

Generated from ``contracts/abi/federation.json`` by ``python -m contracts.compile``: change
the contract, not this file. Amounts in wei, times in seconds of chain time; 32-byte digests as
``bytes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contracts.binding.records import ContractEvent, Terms
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class FederationEvent(ContractEvent):
    """Base of the federation's events."""


@dataclass(frozen=True, slots=True)
class FederationCreated(FederationEvent):
    """The contract was deployed with these terms."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class Joined(FederationEvent):
    """A member bonded ``amount``; ``index`` is its member number from 1."""

    account: Address
    index: int
    amount: Wei
    bond: Wei


@dataclass(frozen=True, slots=True)
class Left(FederationEvent):
    """A member, or the coordinator, moved its whole bond to unbonding."""

    account: Address
    amount: Wei
    unbonding: Wei
    matures_at: int


@dataclass(frozen=True, slots=True)
class Withdrawn(FederationEvent):
    """All of an account's unbonded funds were paid out."""

    account: Address
    amount: Wei


@dataclass(frozen=True, slots=True)
class CoordinatorBonded(FederationEvent):
    """The coordinator added to its bond."""

    account: Address
    amount: Wei
    bond: Wei


@dataclass(frozen=True, slots=True)
class Collected(FederationEvent):
    """Bounties were paid out."""

    account: Address
    amount: Wei


@dataclass(frozen=True, slots=True)
class PoolFunded(FederationEvent):
    """Ether was added to the reward pool; ``pool`` is the pool after it."""

    sender: Address
    amount: Wei
    pool: Wei


@dataclass(frozen=True, slots=True)
class Claimed(FederationEvent):
    """Rewards were paid out, up to ``cumulative`` over all time."""

    account: Address
    cumulative: Wei
    amount: Wei


@dataclass(frozen=True, slots=True)
class RoundOpened(FederationEvent):
    """A round opened on ``parent`` (0 for the initial model)."""

    round: RoundId
    model_root: bytes
    rule_hash: bytes
    deadline: int
    opened_at: int
    parent: RoundId
    height: int
    member_count: int
    budget: Wei
    pledged_cum: Wei


@dataclass(frozen=True, slots=True)
class RoundVoided(FederationEvent):
    """A round, and all stacked on it, became void.

    ``head_height`` is the head's height after it; ``reason`` is zero-padded ASCII.
    """

    round: RoundId
    reason: bytes
    head_height: int

    @property
    def reason_text(self) -> str:
        """The reason without its padding, bytes that are no ASCII escaped."""
        return self.reason.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class UpdatesCommitted(FederationEvent):
    """The contributors' commitments of a round in sealed mode were fixed."""

    round: RoundId
    commitments_root: bytes
    count: int


@dataclass(frozen=True, slots=True)
class RoundSealed(FederationEvent):
    """A round's contributors and new model were committed."""

    round: RoundId
    contributors_root: bytes
    n: int
    total_examples: int
    total_stake: Wei
    new_model_root: bytes
    sealed_at: int
    sealed_block: int


@dataclass(frozen=True, slots=True)
class RoundSettled(FederationEvent):
    """A round's scores and the cumulative rewards after it were committed."""

    round: RoundId
    scores_root: bytes
    total_score: int
    rewards_root: bytes
    paid: Wei
    settled_at: int


@dataclass(frozen=True, slots=True)
class RoundFinalized(FederationEvent):
    """A round became FINAL and its rewards claimable."""

    round: RoundId
    rewards_root: bytes
    paid: Wei


@dataclass(frozen=True, slots=True)
class Slashed(FederationEvent):
    """``amount`` was cut: ``bounty`` credited to the prover, the rest burned.

    ``bond`` and ``unbonding`` are what is left to the account. ``offence`` is zero-padded ASCII.
    """

    account: Address
    round: RoundId
    prover: Address
    offence: bytes
    amount: Wei
    bounty: Wei
    bond: Wei
    unbonding: Wei

    @property
    def offence_text(self) -> str:
        """The offence without its padding, bytes that are no ASCII escaped."""
        return self.offence.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class RefereeSet(FederationEvent):
    """The coordinator named the contract that may convict it."""

    referee: Address


@dataclass(frozen=True, slots=True)
class RoundHeld(FederationEvent):
    """The referee keeps a round from becoming final before ``until``."""

    round: RoundId
    until: int


EVENT_TYPES: Final[Mapping[str, type[FederationEvent]]] = {
    "FederationCreated": FederationCreated,
    "Joined": Joined,
    "Left": Left,
    "Withdrawn": Withdrawn,
    "CoordinatorBonded": CoordinatorBonded,
    "Collected": Collected,
    "PoolFunded": PoolFunded,
    "Claimed": Claimed,
    "RoundOpened": RoundOpened,
    "RoundVoided": RoundVoided,
    "UpdatesCommitted": UpdatesCommitted,
    "RoundSealed": RoundSealed,
    "RoundSettled": RoundSettled,
    "RoundFinalized": RoundFinalized,
    "Slashed": Slashed,
    "RefereeSet": RefereeSet,
    "RoundHeld": RoundHeld,
}
