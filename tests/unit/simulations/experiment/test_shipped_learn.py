"""The shipped experiments learn: plain FedAvg in floats, no chain, no Flower, all honest."""

import copy

import numpy as np
import pytest
import torch

from clients.training.trainer import evaluate, train, use_one_thread
from simulations.data import load_dataset
from simulations.experiment.load import load_experiment
from simulations.experiment.models import build_model, training_settings
from simulations.partitions import divide
from simulations.seeds import integer_seed


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    use_one_thread()
    yield
    torch.set_num_threads(before)


def accuracy(name, folder=None):
    experiment = load_experiment(name)
    seed = experiment.seed
    data = load_dataset(experiment.data, folder, seed)
    shares = divide(experiment.partition, data, seed)
    settings = training_settings(experiment.training)
    model = build_model(experiment.model, data.input_shape, data.num_classes, seed).module
    weights = np.array([len(part) for part in shares.indices]) / len(data.train_y)
    for round_id in range(1, experiment.rounds + 1):
        trained = []
        for client, part in enumerate(shares.indices):
            local = copy.deepcopy(model)
            client_seed = integer_seed(seed, "training", round_id, client)
            train(local, data.train_x[part], data.train_y[part], settings, client_seed)
            trained.append(local.state_dict())
        mean = {
            key: sum(float(w) * state[key] for w, state in zip(weights, trained, strict=True))
            for key in trained[0]
        }
        model.load_state_dict(mean)
    return evaluate(model, data.test_x, data.test_y)[1] / len(data.test_y)


@pytest.mark.parametrize("name", ["quickstart", "free_riders"])
def test_digits_are_read(name):
    assert accuracy(name) > 0.92


def test_the_hospitals_reach_what_pooled_regression_does(real_data):
    assert 0.79 < accuracy("heart_disease", real_data) < 0.88
