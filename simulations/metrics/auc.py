"""The area under the ROC curve."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulations.metrics.base import Metric, Predictions


class Auc(Metric):
    """How often an example of a class gets a higher probability for it than one of another class.

    Equal probabilities count half. Of two classes, the second one's area; of more, the mean of each
    class's against the rest. Classes that have no test examples, or all of them, are left out.
    """

    kind: Literal["auc"] = "auc"

    def measure(self, given: Predictions) -> float | None:
        """Return the area, from 0 to 1; ``None`` if one class has all examples, or of NaN."""
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
    """Return the Mann-Whitney statistic as a share, with mean ranks for equal scores."""
    _, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    ranks = (last - (size - 1) / 2)[group]
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))
