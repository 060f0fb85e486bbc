"""Accuracy of each class."""

from typing import Literal

from simulations.metrics.base import Metric, Predictions


class ClassAccuracy(Metric):
    """For each class, the share of its test examples that are classified correctly (its recall)."""

    kind: Literal["class_accuracy"] = "class_accuracy"

    def measure(self, given: Predictions) -> dict[str, float | None]:
        """Return the shares by class name; ``None`` for a class without test examples."""
        cells = given.confusion()
        return {
            name: int(row[index]) / int(row.sum()) if row.sum() else None
            for index, (name, row) in enumerate(zip(given.class_names, cells, strict=True))
        }
