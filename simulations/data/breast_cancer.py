"""The breast cancer data set of scikit-learn: no folder, no download."""

from pathlib import Path
from typing import Literal

import numpy as np

from simulations.data.base import DataSource, Fraction01
from simulations.data.dataset import Dataset, assemble, split_by_class


class BreastCancerData(DataSource):
    """The 569 tumours with 30 measurements that ship with scikit-learn; 2 classes."""

    kind: Literal["breast_cancer"] = "breast_cancer"
    test_fraction: Fraction01 = 0.2

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load 569 tumours of 30 measurements, standardised by the training part's statistics.

        Class 0 is malignant, 1 benign. Mean and deviation are pooled over all contributors'
        training examples: a federation would agree on them once, before training. The test part
        does not enter them.
        """
        from sklearn import datasets

        bunch = datasets.load_breast_cancer()
        y = bunch.target.astype(np.int64)
        names = tuple(str(name) for name in bunch.target_names)
        train, test = split_by_class(y, self.test_fraction, rng)
        mean, deviation = bunch.data[train].mean(axis=0), bunch.data[train].std(axis=0)
        x = ((bunch.data - mean) / deviation).astype(np.float32)
        return assemble("breast_cancer", x, y, names, (train, test))
