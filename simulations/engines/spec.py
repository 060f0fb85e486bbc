"""The data that a worker process needs to simulate an experiment's contributors."""

from dataclasses import dataclass
from pathlib import Path

from simulations.experiment.schema import Experiment


@dataclass(frozen=True)
class SimulationSpec:
    """The data that a worker needs to simulate an experiment's contributors.

    ``artifacts`` is the folder of the run's store, from which attackers copy others' public
    updates; ``pending`` is the folder of sealed rounds' unrevealed updates, one subfolder per node.
    """

    experiment: Experiment
    data_folder: Path | None = None
    artifacts: Path | None = None
    pending: Path | None = None
