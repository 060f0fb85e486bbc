"""A contributor's local training: the optimiser's share of a step.

``python -m benchmarks training [--examples N] [--repeats N]``. One thread, one epoch
over random examples. ``fedproof`` is ``clients.training.trainer.train``; ``bare loop`` the same
examples in the same order with ``torch.optim.SGD``; ``formula`` computes SGD's step with tensors'
public in-place methods, which shows the overhead of the class. All three give the same bits.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.harness import REPEATS, interleaved
from clients.training.trainer import TrainingSettings, load_optimizers, train, use_one_thread
from coordinator.models.architecture import architecture
from coordinator.models.networks import build_network, initialise
from coordinator.settings.models import Model
from coordinator.settings.models.cnn import CnnModel
from coordinator.settings.models.mlp import MlpModel

EXAMPLES = 400
LEARNING_RATE = 0.05
MODELS: Mapping[str, tuple[Model, tuple[int, ...]]] = {
    "MLP 64-64-10": (MlpModel(hidden=[64]), (64,)),
    "MLP 784-64-10": (MlpModel(hidden=[64]), (784,)),
    "CNN 28x28, 8 and 16 channels": (CnnModel(channels=[8, 16]), (1, 28, 28)),
}

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]


def run(options: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Measure; a row for each model, batch size and momentum, with microseconds a step."""
    parser = argparse.ArgumentParser(prog="benchmarks training")
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args(options)
    use_one_thread()
    load_optimizers()
    return [
        _row(model, batch_size, momentum, arguments.examples, arguments.repeats)
        for model in MODELS
        for batch_size in (5, 16)
        for momentum in (0.0, 0.9)
    ]


def _row(
    model: str, batch_size: int, momentum: float, examples: int, repeats: int
) -> dict[str, Any]:
    shape = MODELS[model][1]
    random = np.random.default_rng(0)
    x = random.normal(size=(examples, *shape)).astype(np.float32)
    y = random.integers(0, 10, examples)
    settings = TrainingSettings(1, batch_size, LEARNING_RATE, momentum)
    batches = _batches(x, y, batch_size)
    rivals: dict[str, Callable[[nn.Module], object]] = {
        "fedproof": lambda network: train(network, x, y, settings, seed=1),
        "bare loop": lambda network: _bare(network, batches, momentum),
        "formula": lambda network: _formula(network, batches, momentum),
    }
    _check_equal(model, rivals)
    timed = {
        name: partial(lambda rival: rival(_network(model)), rival) for name, rival in rivals.items()
    }
    timings = interleaved(timed, repeats=repeats)
    steps = len(batches)
    return {"model": model, "batch": batch_size, "momentum": momentum} | {
        f"{name} (us)": round(timings[name].median_s / steps * 1e6) for name in rivals
    }


def _network(model: str) -> nn.Module:
    config, shape = MODELS[model]
    network = build_network(architecture(config, shape, 10))
    initialise(network, np.random.Generator(np.random.PCG64(3)))
    return network


def _batches(x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int) -> Batches:
    """Return the batches of ``train`` with seed 1."""
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(1)).permutation(len(y)))
    features, labels = torch.from_numpy(x), torch.from_numpy(y)
    return [(features[chosen], labels[chosen]) for chosen in order.split(batch_size)]


def _bare(network: nn.Module, batches: Batches, momentum: float) -> None:
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=momentum)
    for x, y in batches:
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()


def _formula(network: nn.Module, batches: Batches, momentum: float) -> None:
    weights = list(network.parameters())
    velocity: list[torch.Tensor] = []
    for x, y in batches:
        steps = list(torch.autograd.grad(functional.cross_entropy(network(x), y), weights))
        with torch.no_grad():
            if momentum and not velocity:
                velocity = steps
            elif momentum:
                for own, gradient in zip(velocity, steps, strict=True):
                    own.mul_(momentum).add_(gradient)
            for weight, step in zip(weights, velocity or steps, strict=True):
                weight.add_(step, alpha=-LEARNING_RATE)


def _check_equal(model: str, rivals: Mapping[str, Callable[[nn.Module], object]]) -> None:
    ends = {}
    for name, rival in rivals.items():
        network = _network(model)
        rival(network)
        ends[name] = torch.cat([weight.detach().flatten() for weight in network.parameters()])
    for name, end in ends.items():
        if not torch.equal(end, ends["fedproof"]):
            raise AssertionError(f"{model}: {name} ends with other weights than fedproof")
