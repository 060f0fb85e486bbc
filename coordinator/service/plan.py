"""What a federation agreed before its first round."""

from dataclasses import dataclass

from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.documents import rule_document
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.screening import UpdateLimits
from coordinator.protocol.types import Int32Vector, Rule


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """The rule, the model's shape, and the patience.

    In a ``sealed`` federation every round takes commitments first, updates then.
    """

    manifest: Manifest
    rule: Rule
    round_duration_s: int
    limits: UpdateLimits
    sealed: bool = False


def publish_plan(store: ArtifactStore, plan: FederationPlan, initial_model: Int32Vector) -> bytes:
    """Store what a verifier needs before the first round; return the initial model's root."""
    root = parameter_root(initial_model, plan.manifest)
    store.put_vector(initial_model, plan.manifest, root)
    store.put_document("rule", rule_hash(plan.rule), rule_document(plan.rule))
    store.put_bytes(plan.manifest.to_json())
    store.sync()
    return root
