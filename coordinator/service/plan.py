"""What a federation agreed before its first round."""

from dataclasses import dataclass

from coordinator.core.commitment import rule_hash
from coordinator.core.documents import rule_document
from coordinator.core.manifest import Manifest
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.screening import UpdateLimits
from coordinator.core.types import Int32Vector, Rule
from coordinator.ports import ArtifactStore


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
