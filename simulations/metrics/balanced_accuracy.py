"""Accuracy with equal weight for every class."""

from typing import Literal

import numpy as np

from simulations.metrics.base import Metric, Predictions


class BalancedAccuracy(Metric):
    """Mean of the classes' recalls; classes without test examples are left out."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"

    def measure(self, given: Predictions) -> float:
        """Return the mean, from 0 to 1."""
        cells = given.confusion()
        count = cells.sum(axis=1)
        present = count > 0
        return float(np.mean(cells.diagonal()[present] / count[present]))
