"""Whole runs of experiments with a torch module of one's own: trained, replayed, refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.audit.verify.run_audit import verify_run
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.stores.disk import DiskStore
from simulations.data import load_dataset
from simulations.experiment.load import load_experiment
from simulations.run.agreement import agree
from simulations.run.result import Run, RunOptions
from simulations.run.simulation import run_experiment

MODULE = '''
"""Networks of somebody who has only installed the package."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.conv(x))).flatten(1))


def raw():
    """Inputs that nobody normalised: their variances are far over 2048."""
    return nn.Sequential(nn.Flatten(), Times(900.0), nn.BatchNorm1d(64), nn.Linear(64, 10))


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Adapted(nn.Module):
    """A frozen base of which an adapter is trained."""

    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(nn.Flatten(), nn.Linear(64, 48)).requires_grad_(False)
        self.down, self.up = nn.Linear(48, 8, bias=False), nn.Linear(8, 10)

    def forward(self, x):
        return self.up(self.down(torch.relu(self.base(x))))
'''

CONFIG = """
seed = 3
rounds = 2
data = {kind = "digits", max_train = 240}
partition = {kind = "iid", clients = 4}
training = {batch_size = 16, learning_rate = 0.1, epochs = 2}
"""


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "own_networks.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def run(folder: Path, model: str, *overrides: str) -> Run:
    config = folder / "mine.toml"
    config.write_text(f"{CONFIG}model = {model}\n")
    experiment = load_experiment(config, overrides)
    return run_experiment(experiment, folder / "run", RunOptions(workers=2))


def test_batch_norm_learns_and_its_rounds_hold(tmp_path: Path) -> None:
    model = '{kind = "python", function = "own_networks:Net", options = {width = 4}}'
    done = run(tmp_path, model, "rounds=3")
    accuracy: Any = done.rounds[-1].test_accuracy
    assert [record.status for record in done.rounds] == ["final"] * 3
    assert accuracy > 0.7
    findings = verify_run(tmp_path / "run")
    assert findings.ok, findings.faults


def test_statistics_may_be_larger_than_parameters(tmp_path: Path) -> None:
    model = '{kind = "python", function = "own_networks:raw"}'
    scales = 'numbers={norm_bound=1e6, scales={"*.running_var"=8, "*.running_mean"=12}}'
    done = run(tmp_path, model, "rounds=1", scales)
    assert [(record.status, record.contributors) for record in done.rounds] == [("final", 4)]
    assert verify_run(tmp_path / "run").ok
    found = load_experiment(tmp_path / "mine.toml", [scales])
    manifest = agree(found, load_dataset(found.data, None, found.seed)).plan.manifest
    store = DiskStore(tmp_path / "run" / "blobs", read_only=True)
    trained = dequantise(
        store.get_vector(bytes.fromhex(done.rounds[0].model_root), manifest), manifest
    )
    store.close()
    assert trained["2.running_var"].max() > 32_768  # more than 16 fractional bits hold


def test_of_a_frozen_base_only_the_adapter_is_committed(tmp_path: Path) -> None:
    done = run(tmp_path, '{kind = "python", function = "own_networks:Adapted"}')
    assert done.rounds[0].model_root != done.rounds[1].model_root
    sizes = {path.stat().st_size for path in (tmp_path / "run" / "blobs").rglob("*")}
    vector = 4 * (48 * 8 + 8 * 10 + 10)
    assert any(vector < size < vector + 400 for size in sizes)
    assert not any(size > 4 * 64 * 48 for size in sizes)
    assert verify_run(tmp_path / "run").ok


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['model.function="own_networks:Nett"'], 'did you mean "own_networks:Net"?'),
        (["scoring.kind=leave_one_out"], "the module is Net, integers repeat only"),
        (["training.batch_size=1"], "training.batch_size = 1, but model.function"),
        (["partition.clients=240"], "client 0 has 1 example to train on, but model.function"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        run(tmp_path, '{kind = "python", function = "own_networks:Net"}', *overrides)
    assert message in str(refused.value)
    assert not (tmp_path / "run").exists()
