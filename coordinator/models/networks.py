"""PyTorch modules made from a federation's architecture document.

The document is the core's ``Architecture``, what scoring re-executes in integers: the order of the
module's parameters cannot differ from it.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import (
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2,
    Relu,
)


def build_network(architecture: Architecture) -> nn.Sequential:
    """Build the module of an architecture; its parameters mean nothing yet.

    Constructors draw from torch's global generator, which is put back as it was. (Its meta device,
    which draws nothing, takes 34 MB and 0.3 s to come up, in every process.)
    """
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(_named_modules(architecture.layers))


def initialise(model: nn.Module, rng: np.random.Generator) -> None:
    """Give a module initial weights, in place.

    Weights and biases are uniform within ``1 / sqrt(fan_in)``, PyTorch's own rule, but drawn from
    ``rng``: no global random state is read or moved.
    """
    for layer in model.children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = np.float32(1.0 / math.sqrt(layer.weight[0].numel()))
            for parameter in layer.parameters():
                uniform = 2 * rng.random(tuple(parameter.shape), dtype=np.float32) - 1
                parameter.data.copy_(torch.from_numpy(uniform * bound))


def least_batch(model: nn.Module) -> int:
    """Return how many examples a batch needs at least: batch norm cannot train on a single one."""
    # All of torch's batch norms derive from this class; there is no public one.
    has_batch_norm = any(isinstance(part, _BatchNorm) for part in model.modules())
    return 2 if has_batch_norm else 1


def load_weights(model: nn.Module, weights: Mapping[str, NDArray[np.floating]]) -> None:
    """Copy named tensors into a module.

    Raises
    ------
    ConfigError
        If names or shapes are not the module's own.
    """
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    received = {name: tuple(values.shape) for name, values in weights.items()}
    if received != state:
        raise ConfigError(
            f"the model received has tensors {received}, the architecture gives {state}"
        )
    model.load_state_dict(
        {name: torch.from_numpy(np.array(values, np.float32)) for name, values in weights.items()}
    )


class BinaryLogits(nn.Module):
    """A network with one logit *z*, seen as two classes with logits ``(0, z)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @staticmethod
    def around(network: nn.Module, architecture: Architecture) -> nn.Module:
        """Return ``network`` itself, or with two logits where its architecture gives one."""
        (logits,) = architecture.output_shape
        return BinaryLogits(network) if logits == 1 else network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(batch, 2)``."""
        z: torch.Tensor = self.network(x)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def _named_modules(layers: Sequence[Layer]) -> OrderedDict[str, nn.Module]:
    """Return conv1, relu1, pool1, ..., linear1: counted by kind."""
    counts: Counter[str] = Counter()
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        name, module = _module(layer)
        counts[name] += 1
        modules[f"{name}{counts[name]}"] = module
    return modules


def _module(layer: Layer) -> tuple[str, nn.Module]:
    match layer:
        case Linear(inputs, outputs, bias):
            return "linear", nn.Linear(inputs, outputs, bias)
        case Conv2d(inputs, outputs, kernel, padding, bias):
            return "conv", nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)
        case Relu():
            return "relu", nn.ReLU()
        case MaxPool2():
            return "pool", nn.MaxPool2d(2)
        case Flatten():
            return "flatten", nn.Flatten()
