"""Closes a round: applies the rule, makes the result durable, seals the round."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from coordinator.ports import ArtifactStore, Ledger
from coordinator.protocol.commitments.documents import contributors_document, name_of
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.round.chain_round import Seal
from coordinator.protocol.round.result import apply_rule, build_entries, totals
from coordinator.protocol.round.screening import RoundContext
from coordinator.protocol.types import (
    Address,
    Int32Vector,
    JsonObject,
    RoundId,
    RoundInput,
    Signed,
    UpdateMessage,
)
from coordinator.service.archive import RoundArchive
from coordinator.service.plan import FederationPlan


class Collected(Protocol):
    """The submissions of a round, as ``collecting.Collection`` keeps them."""

    @property
    def context(self) -> RoundContext:
        """The open round."""

    @property
    def vectors(self) -> Mapping[Address, Int32Vector]:
        """The accepted updates."""

    @property
    def metrics(self) -> Mapping[Address, JsonObject]:
        """The accepted contributors' metrics."""

    @property
    def salts(self) -> Mapping[Address, bytes]:
        """The salts that opened their commitments, in a sealed round."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The result of a round, and the server momentum after it, ``None`` if the rule has none."""

    result: RoundInput
    velocity: Int32Vector | None


class Closer:
    """Aggregates and seals; keeps no state of a round."""

    def __init__(
        self, ledger: Ledger, store: ArtifactStore, plan: FederationPlan, archive: RoundArchive
    ) -> None:
        self._ledger, self._store = ledger, store
        self._plan = plan
        self._archive = archive

    def aggregate(
        self, collected: Collected, accepted: Mapping[Address, Signed[UpdateMessage]]
    ) -> Aggregation:
        """Apply the rule to the accepted updates.

        Raises
        ------
        AggregationError
            If the rule cannot be applied.
        """
        context, rule = collected.context, self._plan.rule
        entries = build_entries(
            context.round_id,
            accepted,
            collected.metrics,
            context.stakes,
            rule,
            collected.salts if self._plan.sealed else None,
        )
        base = self._archive.model(context.base_model_root)
        updates = [collected.vectors[e.leaf.contributor] for e in entries]
        velocity = self._archive.velocity(self._ledger.head().last_sealed)
        applied = apply_rule(rule, base, updates, [e.leaf.weight for e in entries], velocity)
        root = parameter_root(applied.model, self._plan.manifest)
        result = RoundInput(entries, updates, base, applied.model, root, velocity)
        return Aggregation(result, applied.velocity)

    def store(self, round_id: RoundId, aggregation: Aggregation) -> bytes:
        """Store the result to be sealed; return the momentum's root, empty without momentum.

        It is durable only after the store's ``sync``.
        """
        result, manifest = aggregation.result, self._plan.manifest
        self._store.put_vector(result.new_model, manifest, result.new_model_root)
        velocity_root = b""
        if aggregation.velocity is not None:
            velocity_root = parameter_root(aggregation.velocity, manifest)
            self._store.put_vector(aggregation.velocity, manifest, velocity_root)
        document = contributors_document(round_id, result.entries)
        self._store.put_document("contributors", name_of("contributors", document), document)
        return velocity_root

    def seal(self, round_id: RoundId, result: RoundInput) -> Seal:
        """Commit a stored result to the ledger; return the seal.

        Raises
        ------
        TransactionRevertedError
            If the contract refuses.
        """
        total_examples, total_stake = totals(result.entries, self._plan.rule)
        document = contributors_document(round_id, result.entries)
        seal = Seal(
            contributors_root=name_of("contributors", document),
            n=len(result.entries),
            total_examples=total_examples,
            total_stake_wei=total_stake,
            new_model_root=result.new_model_root,
        )
        self._ledger.seal_round(round_id, seal)
        self._archive.keep_model(result.new_model_root, result.new_model)
        return seal
