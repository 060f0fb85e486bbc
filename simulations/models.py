"""The models an experiment can train, with initial weights that depend on the seed alone.

Only layers that integers can repeat exactly: convolution, ReLU, max-pooling, linear. No batch
norm (its running statistics are no parameters, and leak) and no dropout (its draws would have
to be agreed on).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from clients.training import TrainingSettings
from coordinator.core.errors import ConfigError
from simulations.schema import CnnModel, LogisticModel, Model, Training
from simulations.seeds import generator

KERNEL = 3
POOL = 2
"""Each pooling halves an image's sides, rounded down."""


def build_model(
    config: Model, input_shape: tuple[int, ...], num_classes: int, generator_seed: int
) -> nn.Sequential:
    """Build a model and give it its initial weights.

    Parameters
    ----------
    config
        The ``[model]`` section.
    input_shape
        Shape of one example; ``(channels, height, width)`` for a CNN.
    num_classes
        Width of the last layer, which gives logits.
    generator_seed
        The experiment's root seed. Weights are uniform within ``1 / sqrt(fan_in)``, PyTorch's
        own rule, but drawn from our generator: no global random state is read or moved.

    Raises
    ------
    ConfigError
        If a CNN is given no images, or its poolings leave nothing of them.
    """
    # Layers start on the meta device: their constructors would otherwise draw from torch's
    # global generator.
    layers = OrderedDict(_layers(config, input_shape, num_classes))
    model = nn.Sequential(layers).to_empty(device="cpu")
    _initialise(model, generator(generator_seed, "model"))
    return model


def training_settings(config: Training) -> TrainingSettings:
    """Turn the ``[training]`` section into the record a contributor trains by."""
    return TrainingSettings(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        max_steps=config.max_steps or None,
    )


def _layers(
    config: Model, input_shape: tuple[int, ...], num_classes: int
) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(config, CnnModel):
        yield from _convolutions(config.channels, input_shape)
        width = _pooled_size(config.channels, input_shape)
    else:
        width = int(np.prod(input_shape))
    yield "flatten", nn.Flatten()
    if not isinstance(config, CnnModel | LogisticModel):
        for number, hidden in enumerate(config.hidden, 1):
            yield f"hidden{number}", nn.Linear(width, hidden, device="meta")
            yield f"relu{number}", nn.ReLU()
            width = hidden
    yield "output", nn.Linear(width, num_classes, device="meta")


def _convolutions(
    channels: Sequence[int], input_shape: tuple[int, ...]
) -> Iterator[tuple[str, nn.Module]]:
    if len(input_shape) != 3:
        raise ConfigError(
            f'model.kind = "cnn" needs images of shape (channels, height, width), found examples '
            f"of shape {input_shape}"
        )
    depth = input_shape[0]
    for number, width in enumerate(channels, 1):
        conv = nn.Conv2d(depth, width, KERNEL, padding=KERNEL // 2, device="meta")
        yield f"conv{number}", conv
        yield f"relu{number}", nn.ReLU()
        yield f"pool{number}", nn.MaxPool2d(POOL)
        depth = width


def _pooled_size(channels: Sequence[int], input_shape: tuple[int, ...]) -> int:
    height, width = (side // (1 << len(channels)) for side in input_shape[1:])
    if height * width == 0:
        raise ConfigError(
            f"model.channels has {len(channels)} layers that each halve the image, too many for "
            f"images of {input_shape[1]}x{input_shape[2]}"
        )
    return channels[-1] * height * width


def _initialise(model: nn.Module, rng: np.random.Generator) -> None:
    for layer in model.children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = np.float32(1.0 / np.sqrt(layer.weight[0].numel()))
            for parameter in layer.parameters():
                uniform = 2 * rng.random(tuple(parameter.shape), dtype=np.float32) - 1
                parameter.data.copy_(torch.from_numpy(uniform * bound))
