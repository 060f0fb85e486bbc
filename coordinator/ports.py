"""Ports: what the round service needs from the outside, as Protocols over core types.

Stores, ledger and scorers implement them; the in-memory fakes of
``memory_ledger`` implement all of them too, and one test suite runs against
both. Nothing here does I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound, Seal, Settlement
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    PreviousRound,
    RoundId,
    RoundInput,
    RoundInstruction,
    Rule,
    Signed,
    SignedInstruction,
    SigningDomain,
    Slot,
    UpdateMessage,
    Wei,
)


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where the live chain of rounds stands: all values are round numbers, 0 for none."""

    last_opened: RoundId
    last_sealed: RoundId
    last_settled: RoundId
    last_final: RoundId
    model_root: bytes


class Ledger(Protocol):
    """The contract, seen from the coordinator. Every call returns after the block is durable."""

    def domain(self) -> SigningDomain:
        """Return the EIP-712 domain of the deployed federation."""

    def now(self) -> int:
        """Return the chain time a transaction sent now would see, in seconds."""

    def head(self) -> ChainHead:
        """Return the live head of the stack of rounds."""

    def round(self, round_id: RoundId) -> ChainRound:
        """Return one round as stored; one that was never opened has status NONE."""

    def round_at_height(self, height: int) -> RoundId:
        """Return the live round at a height from 1, or 0 if the stack is not that high."""

    def members(self, count: int) -> Sequence[Address]:
        """Return the first ``count`` addresses that ever joined, in order of joining."""

    def stakes_at(self, round_id: RoundId) -> Mapping[Address, Wei]:
        """Return the bonds of all members when ``round_id`` opened; unbonded ones are absent."""

    def seal_seed(self, round_id: RoundId) -> bytes:
        """Return the hash of the block that sealed the round: the seed of its scoring."""

    def open_round(
        self, round_id: RoundId, model_root: bytes, rule_hash: bytes, deadline: int
    ) -> None:
        """Open a round on the last sealed one."""

    def commit_updates(self, round_id: RoundId, *, commitments_root: bytes, count: int) -> None:
        """Fix what the contributors of an open round have committed to; once a round."""

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Commit a round's contributors and result."""

    def settle_round(self, round_id: RoundId, settlement: Settlement) -> None:
        """Commit a round's scores and cumulative rewards."""

    def finalize_round(self, round_id: RoundId) -> None:
        """Make a round final after its challenge window."""

    def void_round(self, round_id: RoundId, reason: str) -> None:
        """Give up an open round.

        A ledger keeps the first ``VOID_REASON_BYTES`` characters of ``reason``, in ASCII.
        """

    def void_reason(self, round_id: RoundId) -> str:
        """Return why a round is void; for one that stood on a void round, that one's reason."""

    def is_equivocation_slashed(self, round_id: RoundId, contributor: Address) -> bool:
        """Return whether this offence has been punished already."""

    def slash_equivocation(
        self, first: Signed[UpdateMessage], second: Signed[UpdateMessage]
    ) -> Wei:
        """Punish two signatures for one round; return the wei taken from the bond."""

    def sign_instruction(self, statement: RoundInstruction) -> Signed[RoundInstruction]:
        """Sign an instruction for :meth:`domain` with the coordinator's key; sends nothing."""


class ArtifactStore(Protocol):
    """Content-addressed artifacts: every read re-hashes, every write is durable and atomic.

    Methods raise :class:`~coordinator.protocol.errors.BlobMissingError`,
    :class:`~coordinator.protocol.errors.BlobCorruptError` or
    :class:`~coordinator.protocol.errors.StoreError`.
    """

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Store a vector under its parameter root; may return before it is durable."""

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return the vector of this root, checked."""

    def put_document(self, kind: str, name: bytes, document: JsonObject) -> None:
        """Store a canonical JSON document of a kind under the root it is committed by."""

    def get_document(self, kind: str, name: bytes) -> JsonObject:
        """Return a document, checked against its name."""

    def put_bytes(self, data: bytes) -> bytes:
        """Store opaque bytes under their SHA-256, which is returned."""

    def get_bytes(self, digest: bytes) -> bytes:
        """Return opaque bytes, checked."""

    def sync(self) -> None:
        """Return once everything put so far is durable."""


@dataclass(frozen=True, slots=True)
class RoundAnnouncement:
    """What contributors are told when a round opens.

    ``model`` has shape ``(d,)`` and dtype int32: the committed integers themselves. In a sealed
    federation updates begin with commitments; ``commitments`` is their document once its root is
    on chain: a round that a crash interrupted after that goes on with the updates.
    """

    round_id: RoundId
    model: Int32Vector
    model_root: bytes
    manifest: Manifest
    domain: SigningDomain
    rule_hash: bytes
    deadline: int
    sealed: bool = False
    commitments: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One submission that was not taken, and why (``code`` is a screening reason)."""

    round_id: RoundId
    sender: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """How a round's collection ended. ``model`` is the model training goes on from."""

    round_id: RoundId
    status: Literal["sealed", "void"]
    reason: str
    model: Int32Vector
    model_root: bytes
    accepted: Sequence[Address] = ()
    refusals: Sequence[Refusal] = ()
    metrics: Mapping[Address, JsonObject] = field(default_factory=dict)


class RoundDriver(Protocol):
    """What a transport (the Flower strategy) needs of the round service."""

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or go on with one that a crash left open."""

    def sign_instruction(
        self, round_id: RoundId, phase: str, content: JsonObject
    ) -> SignedInstruction:
        """Sign the one instruction of a phase of a round, or return the one signed before.

        ``phase`` and ``content`` are those of ``protocol.instructions``. What was signed before a
        crash may have another content: then that is the one to send.
        """

    def commit(self, signed: Signed[Commitment]) -> None:
        """Offer one commitment of a sealed round; raises ``ContributorError`` if refused."""

    def close_commitments(self) -> JsonObject | None:
        """Put the commitments on chain and return their document; ``None`` voids the round.

        After ``None`` there is only ``close_round`` left, which says why.
        """

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Offer one update; raises ``ContributorError`` if it is refused (and records it).

        ``salt`` opens the contributor's commitment in a sealed round.
        """

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a reply that could not even be read as a submission."""

    def close_round(self) -> RoundOutcome:
        """Aggregate, commit and score what was accepted, or void the round."""


@runtime_checkable
class KnowsNextModel(Protocol):
    """A driver that can tell which model the next round opens on, before it opens it."""

    def next_model(self) -> tuple[Manifest, bytes]:
        """Return the model's layout, and its root, 32 bytes."""


class RoundJournal(Protocol):
    """The coordinator's own notes of a round: refusals, momentum. Durable before it returns.

    Nothing in it is needed to verify a run; it tells why a round went as it did.
    """

    def put(self, round_id: RoundId, entry: JsonObject) -> None:
        """Write a round's entry, replacing an earlier one atomically."""

    def get(self, round_id: RoundId) -> JsonObject:
        """Return a round's entry; raises ``BlobMissingError`` if there is none.

        There may be none of a void round: see :mod:`coordinator.service.round_service`.
        """


class InstructionStore(Protocol):
    """Keeps the instructions that a coordinator signed; two of a slot, if there are two.

    Methods raise :class:`~coordinator.protocol.errors.StoreError`.
    """

    def of(self, slot: Slot) -> Sequence[SignedInstruction]:
        """Return what is kept of a slot, the first first."""

    def keep(self, instruction: SignedInstruction) -> Sequence[SignedInstruction]:
        """Keep an instruction durably, and return what is kept of its slot.

        An equal one changes nothing; a second, different one is kept beside the first, and no
        third one.
        """


class Scorer(Protocol):
    """Scores a sealed round, deterministically from committed data and a seed."""

    needs_previous_round: bool

    def score(
        self, result: RoundInput, rule: Rule, seed: bytes, previous: PreviousRound | None
    ) -> list[int]:
        """Return one non-negative integer per entry of ``result``, in its order.

        ``seed`` is the hash of the block that sealed the round; ``previous`` is the round below,
        ``None`` for the first or if the scorer does not ask for it.
        """
