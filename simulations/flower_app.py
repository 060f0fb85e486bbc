"""``flwr run .``: the shipped experiments as a Flower app (``[tool.flwr.app]``).

The ServerApp runs the experiment of ``run_config`` on its own process pool, so a SuperLink without
any SuperNode suffices. The ClientApp is for SuperNodes that take part in a federation of the same
experiment with their own key: the built-in trainer with the signing mod.
"""

import os
from functools import cache
from pathlib import Path

# isort: split
from flwr.app import Context, Message, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from clients.mod.verifiable_updates import VerifiableUpdates, no_queries
from coordinator.commands.output import verify_command
from coordinator.protocol.errors import ConfigError
from simulations.engines.spec import SimulationSpec
from simulations.experiment.load import load_experiment
from simulations.run.client_app import LocalContributor
from simulations.run.simulation import RunOptions, run_experiment

server = ServerApp()
client = ClientApp(mods=[VerifiableUpdates(threads=None)])


@server.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
    """Run the experiment ``run_config["experiment"]`` into ``run_config["out"]``."""
    config = context.run_config
    experiment = load_experiment(_text(config, "experiment"), [], None)
    out = Path(_text(config, "out") or Path("runs") / experiment.name).absolute()
    workers = config.get("workers", 0)
    if type(workers) is not int or workers < 0:
        raise ConfigError(f"run config: workers is {workers!r}, expected 0 (all cores) or more")
    folder = _text(config, "data")
    options = RunOptions(workers or None, Path(folder) if folder else None)
    result = run_experiment(experiment, out, options)
    last = result.rounds[-1]
    print(f"run      {out} (written by process {os.getpid()})")
    print(f"rounds   {len(result.rounds)}, last {last.status}, model root {last.model_root}")
    print(f"verify   {verify_command(out, experiment.extensions)}")


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train on the node's share of the experiment's data."""
    return _contributor(context).train(message, context)


client.query()(no_queries)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate on the node's share of the experiment's data."""
    return _contributor(context).evaluate(message, context)


def _contributor(context: Context) -> LocalContributor:
    config = context.run_config
    return _local_contributor(_text(config, "experiment"), _text(config, "data"))


@cache
def _local_contributor(experiment: str, folder: str) -> LocalContributor:
    loaded = load_experiment(experiment, [], None)
    return LocalContributor(SimulationSpec(loaded, Path(folder) if folder else None))


def _text(config: UserConfig, name: str) -> str:
    value = config.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"run config: {name} is {value!r}, expected text")
    return value
