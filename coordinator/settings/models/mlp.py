"""The multilayer perceptron."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from coordinator.protocol.scores.architecture import Flatten, Layer, Linear, Relu
from coordinator.settings.base import Widths
from coordinator.settings.models.base import ModelKind


class MlpModel(ModelKind):
    """Fully connected layers of the given widths with ReLU between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = Field(default=[64])

    def layers(self, input_shape: tuple[int, ...], num_classes: int) -> Sequence[Layer]:
        """Return the linear layers with ReLU between them."""
        layers: list[Layer] = [Flatten()] if len(input_shape) > 1 else []
        widths = (math.prod(input_shape), *self.hidden, num_classes)
        for inputs, outputs in itertools.pairwise(widths):
            layers += [Linear(inputs, outputs), Relu()]
        return layers[:-1]
