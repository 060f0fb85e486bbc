"""What a worker process needs to play the contributors of an experiment."""

from dataclasses import dataclass
from pathlib import Path

from simulations.experiment.schema import Experiment


@dataclass(frozen=True)
class SimulationSpec:
    """What a worker needs to play the contributors of an experiment.

    ``artifacts`` is the folder of the run's store, from which copying contributors take other
    people's public updates; ``pending`` is where updates of sealed rounds wait, one folder a node.
    """

    experiment: Experiment
    data_folder: Path | None = None
    artifacts: Path | None = None
    pending: Path | None = None
