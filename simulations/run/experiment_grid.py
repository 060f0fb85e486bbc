"""The worker processes of an experiment's contributors, as Flower's grid."""

from collections.abc import Callable, Mapping
from pathlib import Path

# isort: split
from flwr.app import UserConfig

from coordinator.ports import Ledger
from simulations.engines.ledger_view import LedgerChainView
from simulations.engines.process import PoolGrid
from simulations.engines.spec import SimulationSpec
from simulations.experiment.schema import Experiment
from simulations.run.result import RunOptions


def experiment_grid(
    factory: str,
    experiment: Experiment,
    nodes: Mapping[int, UserConfig],
    options: RunOptions,
    ledger: Ledger,
    *,
    artifacts: Path,
    pending: Path,
    wait: Callable[[int], None],
) -> PoolGrid:
    """Return the grid, not yet entered.

    Parameters
    ----------
    factory
        ``module:function`` that makes the Flower app of a worker.
    artifacts, pending
        Folders of the run, as in :class:`SimulationSpec`.
    wait
        Advances chain time to a number of seconds after the opening of the round in progress.
    """
    return PoolGrid(
        factory,
        nodes,
        spec=SimulationSpec(experiment, options.data_folder, artifacts, pending),
        workers=options.workers,
        seed=experiment.seed,
        chain_view=LedgerChainView(ledger),
        wait=wait,
    )
