"""The same clients in the same pool with plain Flower ``FedAvg``: nothing signed or committed.

The baseline of the benchmarks: a Fedproof run's overhead is its time beyond this one's.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# isort: split
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from coordinator.protocol.types import RoundId
from simulations.data import load_dataset
from simulations.engines.process import PoolGrid
from simulations.engines.spec import SimulationSpec
from simulations.experiment.schema import Experiment
from simulations.run.agreement import agree
from simulations.run.client_app import PLAIN_FACTORY
from simulations.run.cohort import CohortSampler, cohort_sampler, node_configs


class SampledFedAvg(FedAvg):
    """Flower's FedAvg over the cohorts that a Fedproof run of the experiment would draw."""

    def __init__(self, sampler: CohortSampler) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self._sampler = sampler

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model to the round's cohort."""
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        nodes = self._sampler(RoundId(server_round), list(grid.get_node_ids()))
        return self._construct_messages(record, nodes, MessageType.TRAIN)


@dataclass(frozen=True)
class PlainRun:
    """The result of a plain run: the final model, and the wall seconds of each round."""

    arrays: ArrayRecord
    seconds: Sequence[float]


def run_plain(
    experiment: Experiment, *, data_folder: Path | None = None, workers: int | None = None
) -> PlainRun:
    """Run an experiment's rounds with plain Flower, without its behaviours.

    Workers have started and imported everything before the time is taken.
    """
    agreement = agree(experiment, load_dataset(experiment.data, data_folder, experiment.seed))
    nodes = node_configs(experiment.model_copy(update={"behaviours": []}))
    spec = SimulationSpec(experiment.model_copy(update={"behaviours": []}), data_folder)
    strategy = SampledFedAvg(cohort_sampler(experiment, nodes))
    arrays = ArrayRecord(agreement.initial_state)
    seconds = []
    with PoolGrid(
        PLAIN_FACTORY, nodes, spec=spec, workers=workers, seed=experiment.seed, tag="plain"
    ) as grid:
        grid.wait_until_ready()
        for server_round in range(1, experiment.rounds + 1):
            started = time.perf_counter()
            messages = strategy.configure_train(server_round, arrays, ConfigRecord(), grid)
            aggregated, _ = strategy.aggregate_train(server_round, grid.send_and_receive(messages))
            arrays = arrays if aggregated is None else aggregated
            seconds.append(time.perf_counter() - started)
    return PlainRun(arrays, seconds)
