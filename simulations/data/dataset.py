"""The record of a loaded data set, and functions that split it.

Splits draw from the given generator and keep the order of the examples, so the same seed gives the
same arrays.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Train and test examples of a classification task.

    ``train_x`` has shape ``(n, *input_shape)``; images are ``(channels, height, width)``.
    ``sites`` and ``test_sites`` give each example's index into ``site_names``; ``None`` where
    the data has no sites.
    """

    name: str
    train_x: Features
    train_y: Labels
    test_x: Features
    test_y: Labels
    num_classes: int
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    sites: Indices | None = None
    test_sites: Indices | None = None
    site_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A data set without the held-out examples, and those examples."""

    rest: Dataset
    x: Features
    y: Labels


def assemble(
    name: str,
    x: Features,
    y: Labels,
    class_names: tuple[str, ...],
    split: tuple[Indices, Indices],
) -> Dataset:
    """Return a data set of all examples, without sites; ``split`` is (train, test) indices."""
    train, test = split
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


def split_by_class(
    labels: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Return the sorted indices of (train, test), ``fraction`` of each class for the test.

    Each class gives ``fraction`` of its count, rounded half up.
    """
    taken = [
        rng.permutation(np.flatnonzero(labels == label))[: int(fraction * count + 0.5)]
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
    ]
    test = np.sort(np.concatenate(taken))
    return np.setdiff1d(np.arange(len(labels)), test), test


def limit(dataset: Dataset, max_train: int, max_test: int, rng: np.random.Generator) -> Dataset:
    """Keep at most ``max_train`` and ``max_test`` examples, drawn at random; 0 keeps all."""
    train = _draw(len(dataset.train_y), max_train, rng)
    test = _draw(len(dataset.test_y), max_test, rng)
    kept = _take_train(dataset, train)
    return replace(
        kept,
        test_x=dataset.test_x[test],
        test_y=dataset.test_y[test],
        test_sites=None if dataset.test_sites is None else dataset.test_sites[test],
    )


def hold_out(dataset: Dataset, examples: int, rng: np.random.Generator) -> HeldOut:
    """Hold examples out of the training data, in the proportions of its classes.

    For a public evaluation set: contributors must not be scored on anyone's training data, nor on
    the test set.

    Raises
    ------
    ConfigError
        If no training example would be left.
    """
    count = len(dataset.train_y)
    if examples >= count:
        raise ConfigError(
            f"scoring.evaluation_examples = {examples}, but data set {dataset.name} has only "
            f"{count} training examples"
        )
    classes, sizes = np.unique(dataset.train_y, return_counts=True)
    quotas = apportion(sizes / count, examples)
    taken = [
        rng.permutation(np.flatnonzero(dataset.train_y == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    out = np.sort(np.concatenate(taken))
    rest = np.setdiff1d(np.arange(count), out)
    return HeldOut(_take_train(dataset, rest), dataset.train_x[out], dataset.train_y[out])


def apportion(shares: NDArray[np.float64], total: int) -> Indices:
    """Split ``total`` into integers by shares that sum to 1, by largest remainder.

    Ties go to the lower index.
    """
    exact = shares * total
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    order = np.argsort(whole - exact, kind="stable")
    whole[order[:short]] += 1
    return whole


def _draw(count: int, maximum: int, rng: np.random.Generator) -> Indices:
    if maximum == 0 or maximum >= count:
        return np.arange(count)
    return np.sort(rng.permutation(count)[:maximum])


def _take_train(dataset: Dataset, indices: Indices) -> Dataset:
    return replace(
        dataset,
        train_x=dataset.train_x[indices],
        train_y=dataset.train_y[indices],
        sites=None if dataset.sites is None else dataset.sites[indices],
    )
