"""A federation of four contributors whose updates are made by hand, for service tests."""

from dataclasses import dataclass, field

import numpy as np

from coordinator.ports import (
    ArtifactStore,
    InstructionStore,
    Ledger,
    RoundAnnouncement,
    RoundJournal,
)
from coordinator.protocol.commitments.digests import canonical_json, metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.signatures.eip712 import address_of_key, sealed_commitment, sign_statement
from coordinator.protocol.types import (
    Commitment,
    Int32Vector,
    JsonObject,
    RoundId,
    Rule,
    Signed,
    UpdateLimits,
    UpdateMessage,
)
from coordinator.service.archive import publish_plan
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer, scoring_digest, scoring_document
from simulations.experiment.schema import Experiment

CONTRIBUTORS = 4
MANIFEST = Manifest((TensorSpec("w", (3, 4), "float32"), TensorSpec("b", (5,), "float32")))
INITIAL = np.arange(17, dtype=np.int32) * 1000
SCORING = scoring_document("examples")


def rule(**changes: int) -> Rule:
    fields = {
        "version": 1,
        "kind": 1,
        "weighting": 1,
        "num_byzantine": 0,
        "examples_cap": 1000,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": MANIFEST.digest(),
        "dimension": MANIFEST.dimension,
        "chunk_values": MANIFEST.chunk_values,
        "scale_bits": MANIFEST.scale_bits,
        "min_contributors": 2,
        "norm_bound_q": 0,
        "scoring_hash": scoring_digest(SCORING),
    }
    return Rule(**{**fields, **changes})  # type: ignore[arg-type]


EXPERIMENT = Experiment.model_validate(
    {
        "seed": 5,
        "rounds": 9,
        "partition": {"kind": "iid", "clients": CONTRIBUTORS},
        "cohort": {"min_contributors": 2},
        "chain": {"challenge_window_s": 0},
        "rewards": {"round_budget_wei": 1000},
    }
)


@dataclass
class Bench:
    """One federation: ports, and a way to make signed updates."""

    ledger: Ledger
    store: ArtifactStore
    journal: RoundJournal
    keys: list[bytes] = field(default_factory=list)

    def service(
        self,
        used: Rule,
        *,
        sealed: bool = False,
        instructions: InstructionStore | None = None,
    ) -> RoundService:
        limits = UpdateLimits(max_bytes=4 * 17)
        plan = FederationPlan(MANIFEST, used, 3600, limits, sealed=sealed)
        publish_plan(self.store, plan, INITIAL)
        self.store.put_bytes(canonical_json(SCORING))
        self.store.sync()  # another service's store may be about to write the very same file
        scorer = RuleScorer("examples")
        return RoundService(
            self.ledger, self.store, self.journal, scorer, plan, instructions=instructions
        )

    def signed(
        self,
        client: int,
        announced: RoundAnnouncement,
        vector: Int32Vector,
        *,
        examples: int = 10,
        **changes: object,
    ) -> tuple[Signed[UpdateMessage], Int32Vector, JsonObject]:
        metrics: JsonObject = {"loss": 0.5, "num-examples": examples}
        fields: dict[str, object] = {
            "round_id": announced.round_id,
            "base_model": announced.model_root,
            "update": parameter_root(vector, MANIFEST),
            "examples": examples,
            "metrics_hash": metrics_hash(metrics),
        }
        message = UpdateMessage(**{**fields, **changes})  # type: ignore[arg-type]
        return sign_statement(self.ledger.domain(), message, self.keys[client]), vector, metrics

    def commitment(
        self, client: int, announced: RoundAnnouncement, vector: Int32Vector, **changes: object
    ) -> Signed[Commitment]:
        """Commit to what :meth:`signed` signs; the salt is :func:`salt`'s."""
        key, domain = self.keys[client], self.ledger.domain()
        who, root = address_of_key(key), parameter_root(vector, MANIFEST)
        digest = sealed_commitment(domain, announced.round_id, who, salt(client), root)
        fields: dict[str, object] = {"round_id": announced.round_id, "commitment": digest}
        return sign_statement(domain, Commitment(**{**fields, **changes}), key)  # type: ignore[arg-type]


def salt(client: int) -> bytes:
    return bytes([client + 1]) * 32


def vector(value: int) -> Int32Vector:
    return np.full(17, value, np.int32)


def round_status(bench: Bench, number: int) -> str:
    return bench.ledger.round(RoundId(number)).status.word
