"""Which contributors attack in a round, with whom, and with which hooks."""

from functools import cached_property

from coordinator.protocol.types import RoundId
from simulations.attacks.contributor import attack_of
from simulations.attacks.contributor.hooks import AttackHooks
from simulations.experiment.schema import Experiment
from simulations.run.cohort import CohortSampler, cohort_sampler, node_configs


class Attackers:
    """Finds the attack of a contributor in a round.

    The cohort of a round follows from the seed, so every process comes to the same colluders.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def hooks(self, client: int, round_id: RoundId) -> AttackHooks | None:
        """Return the hooks of a client's attack in a round; ``None`` where it is honest."""
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
