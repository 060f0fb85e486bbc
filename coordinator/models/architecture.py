"""A federation's model, described once: the core's architecture from the ``[model]`` section.

Only layers that integers can repeat exactly: convolution, ReLU, max-pooling, linear. No batch
norm (its running statistics are no parameters, and leak) and no dropout (its draws would have
to be agreed on).
"""

import math
from collections.abc import Iterator, Sequence

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
from coordinator.settings.learning import CnnModel, LogisticModel, MlpModel, Model

KERNEL = 3


def architecture(
    config: Model, input_shape: tuple[int, ...], num_classes: int, scale_bits: int = 20
) -> Architecture:
    """Describe a model: its layers take their parameters in the order of torch's state dict.

    Parameters
    ----------
    config
        The ``[model]`` section.
    input_shape
        Shape of one example; ``(channels, height, width)`` for a CNN.
    num_classes
        Width of the last layer, which gives logits.
    scale_bits
        Of the federation's manifest.

    Raises
    ------
    ConfigError
        If a CNN is given no images, or its poolings leave nothing of them.
    """
    layers = tuple(_layers(config, input_shape, num_classes))
    return Architecture(layers, input_shape, scale_bits=scale_bits)


def _layers(config: Model, input_shape: tuple[int, ...], num_classes: int) -> Iterator[Layer]:
    shape = input_shape
    match config:
        case CnnModel(channels=channels):
            yield from _convolutions(channels, input_shape)
            halvings = 1 << len(channels)
            shape = (channels[-1], input_shape[1] // halvings, input_shape[2] // halvings)
            hidden: Sequence[int] = ()
        case MlpModel():
            hidden = config.hidden
        case LogisticModel():
            hidden = ()
    if len(shape) > 1:
        yield Flatten()
    width = math.prod(shape)
    for outputs in hidden:
        yield Linear(width, outputs)
        yield Relu()
        width = outputs
    yield Linear(width, num_classes)


def _convolutions(channels: Sequence[int], input_shape: tuple[int, ...]) -> Iterator[Layer]:
    if len(input_shape) != 3:
        raise ConfigError(
            f'model.kind = "cnn" needs images of shape (channels, height, width), found examples '
            f"of shape {input_shape}"
        )
    if min(input_shape[1:]) >> len(channels) == 0:
        raise ConfigError(
            f"model.channels has {len(channels)} layers that each halve the image, too many for "
            f"images of {input_shape[1]}x{input_shape[2]}"
        )
    depth = input_shape[0]
    for width in channels:
        yield Conv2d(depth, width, KERNEL, padding=KERNEL // 2)
        yield Relu()
        yield MaxPool2()
        depth = width
