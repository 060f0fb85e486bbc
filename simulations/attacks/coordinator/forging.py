"""What a dishonest coordinator has at hand to make false results that are consistent otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.round.result import apply_rule
from coordinator.protocol.types import Address, ContributorEntry, Int32Vector, RoundInput
from coordinator.service.plan import FederationPlan


@dataclass(frozen=True)
class CoordinatorContext:
    """What a dishonest coordinator has at hand.

    Attributes
    ----------
    plan
        The federation's rule and manifest.
    store
        Its artifact store.
    clients
        Addresses of the contributors, by client.
    coordinator
        Its own address.
    """

    plan: FederationPlan
    store: ArtifactStore
    clients: Sequence[Address]
    coordinator: Address

    def place_of(self, result: RoundInput, client: int) -> int:
        """Return a client's place among a round's entries; the first if it took no part."""
        address = self.clients[client]
        who = [entry.leaf.contributor for entry in result.entries]
        return who.index(address) if address in who else 0

    def reaggregated(
        self,
        result: RoundInput,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
    ) -> RoundInput:
        """Return the result that the rule gives for other entries and updates.

        Raises
        ------
        AggregationError
            If the rule cannot be applied to them.
        """
        weights = [entry.leaf.weight for entry in entries]
        rule = self.plan.rule
        applied = apply_rule(rule, result.base_model, updates, weights, result.velocity)
        root = parameter_root(applied.model, self.plan.manifest)
        return replace(
            result, entries=entries, updates=updates, new_model=applied.model, new_model_root=root
        )


def weighted(entries: Sequence[ContributorEntry], weights: Sequence[int]) -> list[ContributorEntry]:
    """Return entries with other weights."""
    return [
        replace(entry, leaf=replace(entry.leaf, weight=weight))
        for entry, weight in zip(entries, weights, strict=True)
    ]
