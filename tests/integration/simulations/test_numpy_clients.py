"""Clients of Flower's former API take part through one adapter, or are told of it in one line."""

import logging
from pathlib import Path

import numpy as np
import pytest
from flower_bench import LocalGrid, initial_arrays
from flwr.app import ConfigRecord, Context, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from fedproof import (
    AggregationError,
    FedproofStrategy,
    VerifiableUpdates,
    local_participant,
    numpy_clients,
    verify,
)

CLIENTS = 3
STEP = 0.125


class FormerClient(NumPyClient):
    def fit(self, parameters, config):
        assert config["lr"] == 0.5
        trained = [array + np.float32(STEP) for array in parameters]
        return trained, 10, {"train-loss": 0.25, "converged": True, "note": "text"}

    def evaluate(self, parameters, config):
        return 0.5, 10, {"accuracy": 0.75}


class OneArrayShort(FormerClient):
    def fit(self, parameters, config):
        return parameters[:-1], 10, {}


class AnotherShape(FormerClient):
    def fit(self, parameters, config):
        return [array[:1] for array in parameters], 10, {}


def run(folder: Path, client: NumPyClient, *mods):
    app_mods = [VerifiableUpdates(local_participant(folder)), *mods]
    apps = {
        n + 2: ClientApp(client_fn=lambda context: client.to_client(), mods=app_mods)
        for n in range(CLIENTS)
    }
    grid = LocalGrid(apps)
    for n in range(CLIENTS):
        grid.contexts[n + 2] = Context(1, n + 2, {"partition-id": n}, RecordDict(), {})
    strategy = FedproofStrategy.local(initial_arrays(), contributors=CLIENTS, folder=folder)
    return strategy.start(
        grid, initial_arrays(), num_rounds=2, train_config=ConfigRecord({"lr": 0.5})
    )


def test_it_trains_evaluates_and_verifies(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path / "run", FormerClient(), numpy_clients)
    assert verify(tmp_path / "run").ok
    before = initial_arrays()
    for name, array in result.arrays.items():
        assert array.numpy() == pytest.approx(before[name].numpy() + 2 * STEP, abs=2**-19)
    assert result.train_metrics_clientapp[2]["converged"] == 1
    assert result.evaluate_metrics_clientapp[2] == {"loss": 0.5, "accuracy": 0.75}
    assert "metrics that are no numbers are left out: note" in caplog.text


@pytest.mark.parametrize(
    ("client", "mods", "told"),
    [
        (FormerClient(), (), "expected fedproof.numpy_clients as the last of its mods"),
        (OneArrayShort(), (numpy_clients,), "found 1 arrays, expected the model's 2"),
        (AnotherShape(), (numpy_clients,), "wrong-shape"),
    ],
    ids=["no adapter", "fewer arrays", "another shape"],
)
def test_what_cannot_be_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, client: NumPyClient, mods: tuple, told: str
):
    with caplog.at_level(logging.INFO), pytest.raises(AggregationError):
        run(tmp_path / "run", client, *mods)
    assert told in caplog.text
