"""The whole experiment: its sections, and the checks between them."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from coordinator.settings.checked_training import CheckedTraining, check_training
from coordinator.settings.learning import Training
from coordinator.settings.models import Model
from coordinator.settings.models.mlp import MlpModel
from simulations.attacks import contributor, coordinator
from simulations.data import Data
from simulations.data.digits import DigitsData
from simulations.experiment.base import SimulatedFederation
from simulations.experiment.evaluation import Evaluation
from simulations.experiment.federation import Watcher
from simulations.metrics import MetricTable, recorded_name
from simulations.partitions import Partition
from simulations.partitions.iid import IidPartition


class Experiment(SimulatedFederation):
    """One experiment, one file.

    Build it with :func:`simulations.experiment.load.load_experiment`.
    """

    format: Literal["fedproof-experiment-1"] = "fedproof-experiment-1"
    data: Data = DigitsData()
    partition: Partition = IidPartition()
    model: Model = MlpModel()
    training: CheckedTraining = Training()
    evaluation: Evaluation = Evaluation()
    metrics: list[MetricTable] = Field(default=[])
    watcher: Watcher = Watcher()
    behaviours: list[contributor.BehaviourTable] = Field(default=[])
    coordinator_attacks: list[coordinator.AttackTable] = Field(default=[])

    @property
    def clients(self) -> int:
        """Number of contributors."""
        return self.partition.clients

    @property
    def clients_key(self) -> str:
        """Key of the number of contributors, for messages."""
        return "partition.clients"

    @property
    def watching(self) -> Watcher:
        """The ``[watcher]`` section."""
        return self.watcher

    @property
    def unbonded(self) -> frozenset[int]:
        """The contributors whose attack is to take part without a bond."""
        bondless = (attack.clients for attack in self.behaviours if not attack.bonds)
        return frozenset(client for clients in bondless for client in clients)

    @model_serializer(mode="wrap")
    def _without_no_metrics(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit ``metrics`` if it is empty: older experiments then keep their digest (ADR 0143)."""
        fields: dict[str, Any] = handler(self)
        if not self.metrics:
            del fields["metrics"]
        return fields

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between sections."""
        yield from self.cohort_faults()
        yield from _data_faults(self)
        yield from _training_faults(self)
        yield from _metric_faults(self)
        yield from self.money_and_time_faults()
        yield from _behaviour_faults(self)
        yield from _attack_faults(self)


def _data_faults(experiment: Experiment) -> Iterator[str]:
    data = experiment.data
    if experiment.model.needs_images and not data.has_images:
        yield f'{experiment.model.place} needs images, but data.kind = "{data.kind}" has none'
    yield from data.faults()
    yield from experiment.partition.faults(data)


def _training_faults(experiment: Experiment) -> Iterator[str]:
    """Yield that a schedule has no learning rate for one of the rounds."""
    if experiment.training.schedule:
        try:
            check_training(experiment.training, rounds=experiment.rounds)
        except ValueError as error:
            yield str(error)


def _metric_faults(experiment: Experiment) -> Iterator[str]:
    owner = dict[str, int]()
    for index, metric in enumerate(experiment.metrics):
        name = recorded_name(metric)
        first = owner.setdefault(name, index)
        if first != index:
            yield (
                f'metrics[{index}] and metrics[{first}] are both recorded as "{name}"; expected a '
                f'name of its own for one, as in {{kind = "{metric.kind}", name = "..."}}'
            )
    for name, index in owner.items():
        # Of several values each is recorded as the metric's name, a dot and its own.
        for other in (other for other in owner if name.startswith(f"{other}.")):
            yield (
                f'metrics[{index}] is recorded as "{name}", as a value of '
                f'metrics[{owner[other]}], "{other}", would be; expected another name for one'
            )


def _attack_faults(experiment: Experiment) -> Iterator[str]:
    owner = dict[int, int]()
    surroundings = coordinator.Surroundings(
        experiment.partition.clients, experiment.chain.min_open_s
    )
    for index, attack in enumerate(experiment.coordinator_attacks):
        name = f"coordinator_attacks[{index}]"
        if attack.round > experiment.rounds:
            yield f"{name}.round = {attack.round} is after the last of rounds = {experiment.rounds}"
        if attack.round in owner:
            yield (
                f"{name}.round and coordinator_attacks[{owner[attack.round]}].round are both "
                f"{attack.round}; a round has one attack"
            )
        owner[attack.round] = index
        for fault in attack.faults(surroundings):
            yield f"{name}{fault}"


def _behaviour_faults(experiment: Experiment) -> Iterator[str]:
    clients, owner = experiment.partition.clients, dict[int, int]()
    surroundings = contributor.Surroundings(
        clients, experiment.cohort.size, experiment.rounds, experiment.cohort.sealed
    )
    for index, behaviour in enumerate(experiment.behaviours):
        for client in behaviour.clients:
            if client >= clients:
                yield (
                    f"behaviours[{index}].clients names client {client}, but "
                    f"partition.clients = {clients} numbers them 0 to {clients - 1}"
                )
            if client in owner:
                yield (
                    f"behaviours[{index}].clients and behaviours[{owner[client]}].clients both "
                    f"name client {client}; a client has one behaviour"
                )
            owner[client] = index
        for fault in behaviour.faults(surroundings):
            yield f"behaviours[{index}]{fault}"
        if behaviour.from_round > experiment.rounds:
            yield (
                f"behaviours[{index}].from_round = {behaviour.from_round} is after the last of "
                f"rounds = {experiment.rounds}"
            )
