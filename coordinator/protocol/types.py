"""Frozen records, and named types for plain values, that several modules use.

Not handled: checking values, which the boundaries do (``round.screening``, ``settings``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NewType, TypeVar

import numpy as np
from numpy.typing import NDArray

Wei = NewType("Wei", int)
RoundId = NewType("RoundId", int)
Address = NewType("Address", str)
"""EIP-55 checksummed address; order contributors by :func:`address_bytes`, never by text."""

Int32Vector = NDArray[np.int32]
Updates = Sequence[Int32Vector] | NDArray[np.int32]
"""``n`` separate vectors of shape ``(d,)``, or one array of shape ``(n, d)``."""

JsonObject = dict[str, Any]

SIGNATURE_BYTES = 65
"""``r | s | v``."""

PHASES = ("train", "evaluate", "reveal")
"""The phases of a round in which a coordinator instructs participants."""

WEIGHT_TOTAL = 1 << 24
"""Weights of one round sum to exactly this (PROTOCOL §2)."""


def address_bytes(address: str) -> bytes:
    """Return the 20 bytes of an address, the protocol's sort key."""
    return bytes.fromhex(address[2:])


@dataclass(frozen=True, slots=True)
class UpdateMessage:
    """The EIP-712 ``Update`` struct a contributor signs (PROTOCOL §3).

    ``examples`` is the contributor's own count, uncapped; digests are 32 bytes.
    """

    round_id: RoundId
    base_model: bytes
    update: bytes
    examples: int
    metrics_hash: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """The EIP-712 ``Presence`` struct: this Flower node belongs to the signing account.

    ``node_id`` is Flower's, a ``uint64``; ``expiry`` is chain time in seconds, exclusive.
    """

    node_id: int
    expiry: int


@dataclass(frozen=True, slots=True)
class Commitment:
    """The EIP-712 ``Commitment`` struct, which a contributor signs before uploads begin.

    ``commitment`` is the 32 bytes of ``signatures.eip712.sealed_commitment``.
    """

    round_id: RoundId
    commitment: bytes


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """The EIP-712 ``Read`` struct: an account requests one blob that only members may read.

    ``blob`` is its name, 32 bytes; ``expiry`` is in seconds, exclusive.
    """

    blob: bytes
    expiry: int


@dataclass(frozen=True, slots=True)
class RoundInstruction:
    """The EIP-712 ``Instruction`` struct: what a coordinator tells participants in one phase.

    ``phase`` is a place in :data:`PHASES`, from 1; ``content`` is the SHA-256 of the canonical
    JSON of all that the other fields do not fix, 32 bytes as the two digests before it;
    ``deadline`` is the round's, chain time in seconds.
    """

    round_id: RoundId
    phase: int
    base_model: bytes
    rule_hash: bytes
    deadline: int
    content: bytes


AnyStatement = UpdateMessage | Presence | Commitment | ReadRequest | RoundInstruction
Statement = TypeVar("Statement", UpdateMessage, Presence, Commitment, ReadRequest, RoundInstruction)


@dataclass(frozen=True, slots=True)
class Signed(Generic[Statement]):
    """A statement, its signer, and the 65-byte signature ``r | s | v``."""

    signer: Address
    statement: Statement
    signature: bytes


@dataclass(frozen=True, slots=True)
class SigningDomain:
    """EIP-712 domain: a signature is valid for one contract on one chain."""

    chain_id: int
    verifying_contract: Address


@dataclass(frozen=True, slots=True)
class Slot:
    """What a coordinator may sign one instruction for."""

    domain: SigningDomain
    coordinator: Address
    round_id: RoundId
    phase: str


@dataclass(frozen=True, slots=True)
class SignedInstruction:
    """A signed instruction with its domain, and the content it commits to, if that was kept.

    A content that is there has the signed digest: whoever makes one has checked that.
    """

    domain: SigningDomain
    signed: Signed[RoundInstruction]
    content: JsonObject | None

    @property
    def slot(self) -> Slot:
        """What it is the coordinator's one instruction for."""
        statement = self.signed.statement
        phase = PHASES[statement.phase - 1]
        return Slot(self.domain, self.signed.signer, statement.round_id, phase)


@dataclass(frozen=True, slots=True)
class ContributorLeaf:
    """One accepted contributor of a round, as committed in the contributors tree."""

    round_id: RoundId
    index: int
    contributor: Address
    update_root: bytes
    examples: int
    weight: int
    stake_wei: Wei
    signature_hash: bytes


@dataclass(frozen=True, slots=True)
class CommitmentLeaf:
    """One contributor's commitment of a sealed round, as committed in the commitments tree."""

    round_id: RoundId
    contributor: Address
    commitment: bytes


@dataclass(frozen=True, slots=True)
class ScoreLeaf:
    """One contributor's score of a round, as committed in the scores tree."""

    round_id: RoundId
    contributor: Address
    score: int


@dataclass(frozen=True, slots=True)
class RewardLeaf:
    """The cumulative rewards of an account, as committed in the rewards tree."""

    contributor: Address
    cumulative_wei: Wei


@dataclass(frozen=True, slots=True)
class Rule:
    """The aggregation rule announced before training; hashed into ``rule_hash``.

    Field order is the ABI order of the tuple. ``*_q16`` are fixed point with 16 fractional bits
    (65536 = 1.0); ``norm_bound_q`` is an L2 bound on the integer update, 0 for none.
    """

    version: int
    kind: int
    weighting: int
    num_byzantine: int
    examples_cap: int
    server_lr_q16: int
    server_momentum_q16: int
    manifest_hash: bytes
    dimension: int
    chunk_values: int
    scale_bits: int
    min_contributors: int
    norm_bound_q: int
    scoring_hash: bytes


@dataclass(frozen=True, slots=True)
class DefinedRule(Rule):
    """A rule whose ``kind`` is the SHA-256 of its definition (ADR 131).

    ``definition`` is canonical JSON of the rule's name, number and options; it is published with
    the rule's document and is not part of the ABI tuple, which commits to it by ``kind``.
    """

    definition: str


@dataclass(frozen=True, slots=True)
class ContributorEntry:
    """A leaf of the contributors tree with the signature and metrics behind its signature hash.

    In a sealed round ``salt`` (32 bytes) opens the contributor's commitment; else it is ``None``.
    """

    leaf: ContributorLeaf
    signature: bytes
    metrics: JsonObject
    salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class RoundInput:
    """All the data that a round's scores may depend on; entries and updates in leaf order.

    ``velocity`` is the server momentum *before* the round.
    """

    entries: Sequence[ContributorEntry]
    updates: Sequence[Int32Vector]
    base_model: Int32Vector
    new_model: Int32Vector
    new_model_root: bytes
    velocity: Int32Vector | None


@dataclass(frozen=True, slots=True)
class PreviousRound:
    """The published updates of the parent round, in leaf order, and that round's base model."""

    updates: Sequence[tuple[Address, Int32Vector]]
    base_model: Int32Vector


@dataclass(frozen=True, slots=True)
class UpdateLimits:
    """The federation's limits on one update, whatever the manifest says.

    ``max_bytes`` limits the declared size; an update has at least ``min_examples`` and at most
    ``max_examples``; its sender's bond is at least ``min_stake_wei``.
    """

    max_bytes: int = 1 << 32
    min_examples: int = 1
    max_examples: int = (1 << 48) - 1
    min_stake_wei: Wei = Wei(1)


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """A round's scores by address, all rewards in order of joining, and the total it pays."""

    scores: list[ScoreLeaf]
    rewards: list[RewardLeaf]
    paid_wei: Wei
