"""Experiments on files of one's own, run to the end and verified."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coordinator.audit.verify.run_audit import verify_run
from coordinator.protocol.errors import ConfigError
from simulations.experiment.load import load_experiment
from simulations.run.result import RunOptions
from simulations.run.simulation import run_experiment

TABLES = """
rounds = 2
data = {kind = "csv", sites = ["north.csv", "south.csv"], label = "sick", scale = [10.0]}
partition = {kind = "by_site", clients = 2}
model = {kind = "logistic"}
scoring = {kind = "leave_one_out", evaluation_examples = 20}

[training]
learning_rate = 0.5
epochs = 5
loss = "multi_margin_loss"
schedule = "exponentiallr"
schedule_options = {gamma = 0.5}
"""
IMAGES = """
rounds = 1
data = {kind = "images", path = "pictures"}
partition = {clients = 2}
model = {kind = "cnn", channels = [2]}
"""


def write_tables(folder: Path) -> None:
    """Write two sites' patients, who are sick where the first of both columns is above 0."""
    rng = np.random.default_rng(1)
    for name, columns in (("north", ("a", "b")), ("south", ("b", "a"))):
        lines = [",".join((*columns, "sick"))]
        for _ in range(100):
            row = dict(zip("ab", rng.normal(0, 10, 2), strict=True))
            cells = [f"{row[column]:.3f}" for column in columns]
            lines.append(",".join((*cells, str(int(row["a"] > 0)))))
        (folder / f"{name}.csv").write_text("\n".join(lines))


def write_pictures(folder: Path) -> None:
    for label, name in enumerate(("dark", "light")):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (4, 4), 200 * label + number).save(
                folder / "pictures" / name / f"{number}.png"
            )


@pytest.mark.parametrize(
    "mistake", ['data.sites=["north.csv", "none.csv"]', "training.loss_options={weight=[1.0]}"]
)
def test_a_mistake_in_the_data_leaves_no_folder_and_deletes_none(
    tmp_path: Path, mistake: str
) -> None:
    write_tables(tmp_path)
    (tmp_path / "mine.toml").write_text(
        TABLES.replace('loss = "multi_margin_loss"', 'loss = "cross_entropy"')
    )
    experiment, run = load_experiment(tmp_path / "mine.toml", [mistake]), tmp_path / "run"
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read|weight has 1 numbers"):
        run_experiment(experiment, run, RunOptions(workers=1))
    assert not run.exists()
    run.mkdir()
    (run / "config.json").write_text("an earlier run's")
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read|weight has 1 numbers"):
        run_experiment(experiment, run, RunOptions(workers=1, fresh=True))
    assert (run / "config.json").read_text() == "an earlier run's"


@pytest.mark.parametrize(
    ("config", "write"), [(TABLES, write_tables), (IMAGES, write_pictures)], ids=["csv", "images"]
)
def test_a_run_on_files_of_ones_own_is_verified(tmp_path: Path, config: str, write: object) -> None:
    assert callable(write)
    write(tmp_path)
    (tmp_path / "mine.toml").write_text(config)
    run = tmp_path / "run"
    result = run_experiment(load_experiment(tmp_path / "mine.toml"), run, RunOptions(workers=1))
    assert verify_run(run).ok
    assert result.rounds[-1].contributors == 2
    if "csv" in config:
        # south learns from the wrong column if columns go by their place
        accuracy = result.rounds[-1].test_accuracy
        assert accuracy is not None
        assert accuracy > 0.85
        contributors = json.loads((run / "contributors.json").read_text())
        assert [one["label"] for one in contributors] == ["north", "south"]
    assert str(tmp_path) not in (run / "config.json").read_text()
