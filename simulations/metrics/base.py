"""The base class of metrics, and the predictions that they are computed from."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from coordinator.settings.base import Section


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's predictions for the test examples, with the true labels.

    ``probabilities`` has shape ``(n, classes)``, float64, each row sums to 1; NaN where the model
    diverged. ``labels`` has shape ``(n,)``, int64. ``class_names`` are the data set's, one a class.
    All arrays are read-only.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each example, the first of equals: shape ``(n,)``."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return likeliest

    def confusion(self) -> NDArray[np.int64]:
        """Count examples by (true class, predicted class): shape ``(classes, classes)``."""
        classes = len(self.class_names)
        cells = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return cells.reshape(classes, classes)


Measured = float | None | Mapping[str, float | None]
"""A metric's result: one value, or several by name; ``None`` where it is undefined."""


class Metric(Section):
    """A metric: its fields are the options of a ``[[metrics]]`` table.

    Attributes
    ----------
    name
        What its values are recorded as; empty for the kind. Without a dot, which divides it from
        the names of several values.
    """

    kind: str
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")

    @model_serializer(mode="wrap")
    def _without_no_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out that no name is given: such experiments keep their digest (ADR 0147)."""
        fields: dict[str, Any] = handler(self)
        if not self.name:
            del fields["name"]
        return fields

    @abstractmethod
    def measure(self, given: Predictions) -> Measured:
        """Measure the global model after a round.

        Parameters
        ----------
        given
            The predictions for all test examples, in order; at least one.

        Returns
        -------
        A number, or numbers by name (at least one); ``None`` where the metric is undefined, as for
        a class without examples. It must be deterministic: a resumed run measures again.
        """


def recorded_name(metric: Metric) -> str:
    """Return what a metric's values are recorded as: its ``name``, or else its ``kind``."""
    return metric.name or metric.kind
