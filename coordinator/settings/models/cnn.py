"""The convolutional network."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import (
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2,
    Relu,
)
from coordinator.settings.base import Widths
from coordinator.settings.models.base import ModelKind

KERNEL = 3


class CnnModel(ModelKind):
    """For each entry a 3x3 convolution, ReLU and 2x2 max-pooling; then one linear layer.

    Only layers that integers can repeat exactly: no batch norm (its running statistics are no
    parameters) and no dropout.
    """

    needs_images: ClassVar[bool] = True

    kind: Literal["cnn"] = "cnn"
    channels: Widths = Field(default=[8, 16])

    def layers(self, input_shape: tuple[int, ...], num_classes: int) -> Sequence[Layer]:
        """Return the convolutions and the linear layer; refuse what has no two sides to halve."""
        self._check(input_shape)
        layers: list[Layer] = []
        depth = input_shape[0]
        for width in self.channels:
            layers += [Conv2d(depth, width, KERNEL, padding=KERNEL // 2), Relu(), MaxPool2()]
            depth = width
        halvings = 1 << len(self.channels)
        left = math.prod(side // halvings for side in input_shape[1:])
        return (*layers, Flatten(), Linear(depth * left, num_classes))

    def _check(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3:
            raise ConfigError(
                f"{self.place} needs images of shape (channels, height, width), found examples "
                f"of shape {input_shape}"
            )
        if min(input_shape[1:]) >> len(self.channels) == 0:
            raise ConfigError(
                f"model.channels has {len(self.channels)} layers that each halve the image, too "
                f"many for images of {input_shape[1]}x{input_shape[2]}"
            )
