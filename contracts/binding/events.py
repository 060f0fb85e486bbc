"""The federation's events as frozen records. Replaying them rebuilds the contract's storage.

Amounts in wei, times in seconds of chain time; 32-byte digests as ``bytes``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

from contracts.binding.artifacts import load_artifact
from contracts.binding.records import Terms
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where in the chain a log stands; ``log_index`` counts within the block."""

    block_number: int
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class FederationEvent:
    """Base of all events."""

    place: LogPlace


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
class Slashed(FederationEvent):
    """``amount`` was cut: ``bounty`` credited to the prover, the rest burned.

    ``bond`` and ``unbonding`` are what is left to the account.
    """

    account: Address
    round: RoundId
    prover: Address
    offence: bytes
    amount: Wei
    bounty: Wei
    bond: Wei
    unbonding: Wei


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
class RoundHeld(FederationEvent):
    """The referee keeps a round from becoming final before ``until``."""

    round: RoundId
    until: int


@dataclass(frozen=True, slots=True)
class RoundVoided(FederationEvent):
    """A round, and all stacked on it, became void; ``head_height`` is the head's height after it.

    ``reason`` is zero-padded ASCII, see :attr:`reason_text`.
    """

    round: RoundId
    reason: bytes
    head_height: int

    EXPIRED: ClassVar[bytes] = b"deadline".ljust(32, b"\0")

    @property
    def reason_text(self) -> str:
        """The reason without its padding, unprintable bytes escaped."""
        return self.reason.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class RefereeSet(FederationEvent):
    """The coordinator named the contract that may convict it."""

    referee: Address


EVENT_TYPES: Final[Mapping[str, type[FederationEvent]]] = {
    kind.__name__: kind for kind in FederationEvent.__subclasses__()
}


def decode_event(topics: Sequence[bytes], data: bytes, place: LogPlace) -> FederationEvent:
    """Decode one log of a federation.

    Raises
    ------
    LedgerError
        If the log is none of the federation's events.
    """
    event = load_artifact("federation").events.get(topics[0] if topics else b"")
    if event is None:
        raise LedgerError(
            f"block {place.block_number}, log {place.log_index}: topic"
            f" {topics[0].hex() if topics else '(none)'} is none of the federation's events"
        )
    values = event.decode_log(topics, data)
    if event.name == "FederationCreated":
        return FederationCreated(place, Terms.from_abi(values["terms"]))
    kind = EVENT_TYPES[event.name]
    ordered = [values[field.name] for field in fields(kind) if field.name != "place"]
    return kind(place, *ordered)


def decode_log(log: Mapping[str, Any]) -> FederationEvent:
    """Decode one log of a federation, as JSON-RPC gives it; raises as :func:`decode_event`."""
    place = LogPlace(
        block_number=int(log["blockNumber"], 16),
        transaction_hash=bytes.fromhex(log["transactionHash"][2:]),
        log_index=int(log["logIndex"], 16),
    )
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    return decode_event(topics, bytes.fromhex(log["data"][2:]), place)
