"""The F1 score."""

from typing import Literal

import numpy as np

from simulations.metrics.base import Metric, Predictions


class F1(Metric):
    """Mean of the classes' F1, the harmonic mean of precision and recall.

    ``average`` weights the classes equally (``macro``) or by their test examples (``weighted``).
    Classes that have no examples and are never predicted are left out.
    """

    kind: Literal["f1"] = "f1"
    average: Literal["macro", "weighted"] = "macro"

    def measure(self, given: Predictions) -> float:
        """Return the mean, from 0 to 1."""
        cells = given.confusion()
        true, predicted = cells.sum(axis=1), cells.sum(axis=0)
        present = true + predicted > 0
        scores = 2 * cells.diagonal()[present] / (true + predicted)[present]
        weights = true[present] if self.average == "weighted" else None
        return float(np.average(scores, weights=weights))
