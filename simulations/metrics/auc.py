"""The area under the ROC curve."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulations.metrics.base import Metric, Predictions


class Auc(Metric):
    """Probability that an example of a class ranks above one of another class, by its score.

    Ties count half. With two classes, the area of the second; with more, the mean of each class
    against the rest. Classes with no test examples, or all of them, are left out.
    """

    kind: Literal["auc"] = "auc"

    def measure(self, given: Predictions) -> float | None:
        """Return the area, from 0 to 1; ``None`` if one class has all examples, or for NaN."""
        if np.isnan(given.probabilities).any():
            return None
        classes = range(given.probabilities.shape[1])
        areas = [
            _area(given.probabilities[:, index], given.labels == index)
            for index in (classes[1:] if len(classes) == 2 else classes)
            if 0 < np.count_nonzero(given.labels == index) < len(given.labels)
        ]
        return float(np.mean(areas)) if areas else None


def _area(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the Mann-Whitney statistic, scaled to 0 to 1, with mean ranks for ties."""
    _, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    ranks = (last - (size - 1) / 2)[group]
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))
