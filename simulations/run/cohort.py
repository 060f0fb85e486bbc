"""The nodes of a simulation, the cohort of a round, its attackers, and its public updates.

A node's Flower node configuration names its contributor. An equivocating contributor is two nodes
with one key, the second called its shadow.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# isort: split
from flwr.app import Context, UserConfig

from coordinator.ports import ArtifactStore, Ledger, RoundAnnouncement
from coordinator.protocol.commitments.documents import contributor_entries
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address, RoundId
from simulations.attacks.contributor import attack_of
from simulations.attacks.contributor.hooks import AttackHooks
from simulations.experiment.schema import Experiment
from simulations.seeds import generator

CLIENT, SHADOW = "client", "shadow"
PUBLIC_UPDATES = "public-updates"
FIRST_NODE = 2


def node_configs(experiment: Experiment) -> dict[int, UserConfig]:
    """Return the nodes of an experiment: client ``i`` is node ``i + 2``, shadows follow.

    Node 1 is Flower's server. Shadows are the second nodes of equivocating contributors.
    """
    clients = range(experiment.partition.clients)
    nodes: dict[int, UserConfig] = {
        client + FIRST_NODE: {CLIENT: client, SHADOW: False} for client in clients
    }
    for client in clients:
        attack = attack_of(experiment.behaviours, client)
        if attack is not None and attack.sends_second_update:
            nodes[len(nodes) + FIRST_NODE] = {CLIENT: client, SHADOW: True}
    return nodes


def client_of(context: Context) -> int:
    """Return the number of a node's contributor.

    Raises
    ------
    ConfigError
        If it is not in the node's configuration.
    """
    client = context.node_config.get(CLIENT)
    if type(client) is not int or client < 0:
        raise ConfigError(f"node config: {CLIENT} is {client!r}, expected a number from 0")
    return client


def cohort_sampler(experiment: Experiment, nodes: Mapping[int, UserConfig]) -> "CohortSampler":
    """Return the sampler that draws ``cohort.size`` contributors per round, with their shadows."""
    return CohortSampler(experiment.seed, experiment.cohort.size, nodes)


@dataclass(frozen=True)
class CohortSampler:
    """Draws contributors, not nodes; the same seed and round give the same cohort."""

    seed: int
    size: int
    nodes: Mapping[int, UserConfig]

    def client_of_node(self, node: int) -> int:
        """Return the number of a node's contributor."""
        return int(self.nodes[node][CLIENT])

    def __call__(self, round_id: RoundId, available: Sequence[int]) -> list[int]:
        """Return the nodes of the cohort, ascending."""
        clients = sorted({self.client_of_node(node) for node in available})
        rng = generator(self.seed, "cohort", int(round_id))
        size = min(self.size, len(clients))
        chosen = {clients[i] for i in rng.choice(len(clients), size=size, replace=False)}
        return sorted(node for node in available if self.client_of_node(node) in chosen)


def public_updates(
    announcement: RoundAnnouncement,
    ledger: Ledger,
    store: ArtifactStore,
    addresses: Sequence[Address],
) -> dict[str, str]:
    """Return a round's config with the roots of the updates that its parent round published.

    For ``FedproofStrategy(round_config=...)``. ``addresses`` are the contributors', by client.
    """
    parent = ledger.round(announcement.round_id).parent
    roots: dict[str, str] = {}
    if parent:
        root = ledger.round(parent).contributors_root
        clients = {address: client for client, address in enumerate(addresses)}
        for entry in contributor_entries(store.get_document("contributors", root)):
            roots[str(clients[entry.leaf.contributor])] = entry.leaf.update_root.hex()
    return {PUBLIC_UPDATES: json.dumps(roots, sort_keys=True)}


class Attackers:
    """Returns the attack of a contributor in a round.

    The cohort of a round follows from the seed, so every process computes the same colluders.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def hooks(self, client: int, round_id: RoundId) -> AttackHooks | None:
        """Return the hooks of a client's attack in a round, ``None`` if it is honest."""
        attack = attack_of(self._experiment.behaviours, client, int(round_id))
        if attack is None:
            return None
        present = self._sampler(round_id, sorted(self._sampler.nodes))
        cohort = {self._sampler.client_of_node(node) for node in present}
        colluders = tuple(sorted({*attack.clients} & cohort | {client}))
        return AttackHooks(attack, self._experiment.seed, client, round_id, colluders)

    @cached_property
    def _sampler(self) -> CohortSampler:
        return cohort_sampler(self._experiment, node_configs(self._experiment))
