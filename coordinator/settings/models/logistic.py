"""Multinomial logistic regression."""

import math
from collections.abc import Sequence
from typing import Literal

from coordinator.protocol.scores.architecture import Flatten, Layer, Linear
from coordinator.settings.models.base import ModelKind


class LogisticModel(ModelKind):
    """Multinomial logistic regression: one linear layer."""

    kind: Literal["logistic"] = "logistic"

    def layers(self, input_shape: tuple[int, ...], num_classes: int) -> Sequence[Layer]:
        """Return the linear layer, after flattening where an example has more than one axis."""
        flatten = (Flatten(),) if len(input_shape) > 1 else ()
        return (*flatten, Linear(math.prod(input_shape), num_classes))
