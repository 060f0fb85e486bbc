"""The two data sets that scikit-learn carries: no folder, no download."""

import numpy as np
from numpy.typing import NDArray

from simulations.data.dataset import Dataset, split_by_class
from simulations.experiment import BreastCancerData, DigitsData

PIXEL_MAX = 16.0


def load_digits(config: DigitsData, rng: np.random.Generator) -> Dataset:
    """Load 1,797 handwritten digits as ``(1, 8, 8)`` images with values from 0 to 1."""
    from sklearn import datasets  # 2 s and 100 MB, and only here

    bunch = datasets.load_digits()
    x = (bunch.images / PIXEL_MAX).astype(np.float32)[:, None, :, :]
    y = bunch.target.astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    return _split("digits", x, y, names, config.test_fraction, rng)


def load_breast_cancer(config: BreastCancerData, rng: np.random.Generator) -> Dataset:
    """Load 569 tumours of 30 measurements, standardised by the training part's statistics.

    Class 0 is malignant, 1 benign. Mean and deviation are pooled over all contributors'
    training examples: a federation would agree on them once, before training. The test part
    never enters them.
    """
    from sklearn import datasets

    bunch = datasets.load_breast_cancer()
    y = bunch.target.astype(np.int64)
    names = tuple(str(name) for name in bunch.target_names)
    train, test = split_by_class(y, config.test_fraction, rng)
    mean, deviation = bunch.data[train].mean(axis=0), bunch.data[train].std(axis=0)
    x = ((bunch.data - mean) / deviation).astype(np.float32)
    return _assemble("breast_cancer", x, y, names, train, test)


def _split(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    class_names: tuple[str, ...],
    fraction: float,
    rng: np.random.Generator,
) -> Dataset:
    train, test = split_by_class(y, fraction, rng)
    return _assemble(name, x, y, class_names, train, test)


def _assemble(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    class_names: tuple[str, ...],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> Dataset:
    return Dataset(
        name=name,
        train_x=x[train],
        train_y=y[train],
        test_x=x[test],
        test_y=y[test],
        num_classes=len(class_names),
        input_shape=x.shape[1:],
        class_names=class_names,
    )
