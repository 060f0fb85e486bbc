"""The function ``fedproof.simulate``: runs an experiment in one call.

torch, Flower and py-evm are imported by the call, not with this module, so that the fork server
can import them at the same time.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.round.feed import FeedItem
from simulations.engines.fork_server import start_server
from simulations.experiment.load import load_experiment
from simulations.experiment.schema import Experiment
from simulations.report.progress import Silence
from simulations.report.records import RoundRecord, RoundRecorded

if TYPE_CHECKING:
    from simulations.run.result import Run


def simulate(
    config: str | Path | Mapping[str, Any] | Experiment,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    rounds: int | None = None,
    data: str | Path | None = None,
    workers: int | None = None,
    fresh: bool = False,
    on_round: Callable[[RoundRecord], None] | None = None,
) -> "Run":
    """Run an experiment into a folder, or resume the unfinished run in it.

    Clients train in worker processes. They import the main script, so a script must call this under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    config
        A TOML file, the name of a shipped experiment, a mapping with the contents of such a file,
        or a loaded experiment.
    out
        The run's folder; ``runs/NAME`` under the working directory if ``None``. A folder with an
        unfinished run of the same experiment is continued, a finished one is read back.
    overrides
        ``"key.path=value"`` each, as ``--set`` takes them.
    seed
        Replaces the experiment's seed.
    rounds
        Replaces the experiment's rounds; a run of fewer rounds in the folder is made longer.
    data
        Folder with data sets; the variable ``FEDPROOF_DATA`` if ``None``.
    workers
        Worker processes, 1 or more; all cores if ``None``. No result depends on it.
    fresh
        Delete an earlier run in the folder first.
    on_round
        Called after every round of this call, with the round's record.

    Raises
    ------
    ConfigError
        If the experiment, the folder or the data are not as expected; or if a worker process
        executes the call, because the script does not guard it.
    LedgerError, StoreError
        If the chain or the disk fails.
    """
    # The same check as multiprocessing's own before it starts a process.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            "simulate: called while a worker process imports the main script; expected the call "
            'under if __name__ == "__main__":'
        )
    length = () if rounds is None else (f"rounds={rounds}",)
    experiment = _experiment(config, (*overrides, *length), seed)
    start_server()  # workers import torch while this process does
    from simulations.run.simulation import RunOptions, run_experiment

    target = Path(out) if out is not None else Path("runs") / experiment.name
    folder = None if data is None else Path(data)
    options = RunOptions(workers, folder, fresh, extend=rounds is not None)
    return run_experiment(experiment, target, options, _RoundListener(on_round))


def _experiment(
    config: str | Path | Mapping[str, Any] | Experiment, overrides: Sequence[str], seed: int | None
) -> Experiment:
    if not isinstance(config, Experiment):
        return load_experiment(config, overrides, seed)
    if overrides or seed is not None:
        raise ConfigError(
            "simulate: overrides, seed or rounds given with a loaded experiment; expected them in "
            "load_experiment"
        )
    return config


class _RoundListener(Silence):
    """Passes each round's record on, and ignores other progress."""

    def __init__(self, on_round: Callable[[RoundRecord], None] | None) -> None:
        self._on_round = on_round

    def observe(self, item: FeedItem) -> None:
        """Pass the record on."""
        if self._on_round is not None and isinstance(item.event, RoundRecorded):
            self._on_round(item.event.record)
