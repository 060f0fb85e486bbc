"""``flwr run`` on a SuperLink without SuperNodes runs a shipped experiment, the same as ours."""

import json
from pathlib import Path

import pytest
from flower_bench import LocalGrid
from flower_deployment import environment, flwr_run, superlink
from flwr.app import ArrayRecord, Context, Message, RecordDict

from coordinator.flower.internals import identify_process
from coordinator.protocol.errors import ConfigError
from simulations.data import load_dataset
from simulations.experiment.load import load_experiment
from simulations.run.agreement import agree
from simulations.run.simulation import RunOptions, run_experiment

APP = """
[project]
name = "fedproof-flower"
version = "0.1.0"
description = "Fedproof experiments as a Flower app"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedproof"

[tool.flwr.app.components]
serverapp = "simulations.flower_app:server"
clientapp = "simulations.flower_app:client"

[tool.flwr.app.config]
experiment = "{experiment}"
out = "{out}"
data = ""
workers = 2
"""
EXPERIMENT = """
name = "tiny"
seed = 4
rounds = 2

[data]
kind = "digits"
max_train = 200

[model]
kind = "logistic"

[partition]
kind = "iid"
clients = 4
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_flwr_run_gives_the_roots_of_our_own_run(tmp_path: Path):
    config = tmp_path / "tiny.toml"
    config.write_text(EXPERIMENT)
    ours = run_experiment(load_experiment(config), tmp_path / "ours", RunOptions(workers=1))
    app = tmp_path / "app"
    app.mkdir()
    (app / "README.md").write_text("A tiny experiment.\n")
    (app / "pyproject.toml").write_text(APP.format(experiment=config, out=tmp_path / "theirs"))
    env = environment(tmp_path / "flwr")
    with superlink(tmp_path, env):
        printed = flwr_run(app, env, tmp_path)
    assert f"verify   fedproof verify {tmp_path / 'theirs'}" in printed
    lines = (tmp_path / "theirs" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["model_root"] for line in lines] == [
        record.model_root for record in ours.rounds
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"experiment": "no-such"}, "no-such"), ({"workers": -1}, "workers"), ({"out": 3}, "out")],
)
def test_a_bad_run_config_is_named(tmp_path: Path, change: dict, message: str):
    from simulations.flower_app import server

    config = {"experiment": "quickstart", "out": str(tmp_path / "out"), "workers": 1, **change}
    grid = LocalGrid({})
    with pytest.raises(ConfigError, match=message):
        server(grid, Context(1, 1, {}, RecordDict(), config))
    assert not (tmp_path / "out").exists()


def test_a_supernodes_contributor_trains_on_its_own_share(tmp_path: Path):
    from simulations.flower_app import train

    config = tmp_path / "tiny.toml"
    config.write_text(EXPERIMENT)
    content = RecordDict({"arrays": ArrayRecord(_initial(config))})
    identify_process(1)
    seen = []
    for number in (0, 3):
        message = Message(content, 2, "train", group_id="1")
        context = Context(1, 2, {"client": number}, RecordDict(), {"experiment": str(config)})
        reply = train(message, context)
        assert reply.content["metrics"]["num-examples"] == 50
        seen.append(reply.content["arrays"]["linear1.weight"].data)
    assert seen[0] != seen[1]


def _initial(config: Path) -> dict:
    experiment = load_experiment(config)
    return agree(experiment, load_dataset(experiment.data, None, experiment.seed)).initial_state
