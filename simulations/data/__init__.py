"""Data sets of the experiments: one file each, with its options and its loader in one class.

Bundled with scikit-learn: digits, breast cancer. From a data folder: Fashion-MNIST, the
four-hospital heart-disease data. From the Hugging Face hub: anything with a label column. A file
of this package that defines a :class:`DataSource` with a ``kind`` is a kind of ``[data]``; a class
elsewhere is named as ``kind = "module:Name"``.
"""

from pathlib import Path
from typing import Annotated

import numpy as np

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry, outside_code
from coordinator.settings.kinds import ByKind, kind_of
from simulations.data.base import DataSource
from simulations.data.dataset import Dataset, HeldOut, hold_out, limit
from simulations.data.folder import FOLDER_VARIABLE
from simulations.seeds import generator

__all__ = [
    "DATA_SETS",
    "FOLDER_VARIABLE",
    "Data",
    "DataSource",
    "Dataset",
    "HeldOut",
    "hold_out",
    "load_dataset",
]

DATA_SETS: Registry[type[DataSource]] = Registry.of_classes(
    __name__,
    DataSource,  # type: ignore[type-abstract]  # no instance is made of it
    what="data set",
    name_of=kind_of,
)
Data = Annotated[DataSource, ByKind(DATA_SETS, default="digits")]
"""The ``[data]`` section."""


def load_dataset(config: DataSource, folder: Path | None, seed: int) -> Dataset:
    """Load a data set, split it into train and test, and apply the config's limits.

    Parameters
    ----------
    config
        The ``[data]`` section.
    folder
        The folder given by ``--data``. It overrides ``data.folder`` of the config, which overrides
        the environment variable ``FEDPROOF_DATA``.
    seed
        The experiment's root seed, for the split if the data has none of its own, and for the
        choice of examples by the limits.

    Raises
    ------
    ConfigError
        If a folder or a file is missing or corrupt (named, with what was expected there), the
        ``hub`` extra is not installed, the hub cannot be reached, or the arrays are inconsistent.
    OutsideCodeError
        If a data set from outside the package raises something else.
    """
    place = f'data.kind = "{config.kind}"'
    with outside_code(config.kind, f"{place}: load"):
        dataset = config.load(folder, generator(seed, "data", "split"))
    for fault in _faults(dataset):
        raise ConfigError(f"{place}: {fault}")
    return limit(dataset, config.max_train, config.max_test, generator(seed, "data", "limit"))


def _faults(dataset: object) -> list[str]:
    """Return a text for each fault of a loaded data set."""
    if not isinstance(dataset, Dataset):
        return [f"load returned {type(dataset).__name__}, expected Dataset"]
    return [
        fault
        for part, x, y in (
            ("train", dataset.train_x, dataset.train_y),
            ("test", dataset.test_x, dataset.test_y),
        )
        for fault in _part_faults(part, x, y, dataset)
    ]


def _part_faults(part: str, x: object, y: object, dataset: Dataset) -> list[str]:
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        found = f"{part}_x is a {type(x).__name__} and {part}_y a {type(y).__name__}"
        return [f"{found}, expected numpy arrays"]
    faults = []
    shape = (len(y), *dataset.input_shape)
    if x.dtype != np.float32 or x.shape != shape:
        faults.append(f"{part}_x is {x.dtype} {x.shape}, expected float32 {shape}")
    if y.dtype != np.int64 or y.ndim != 1 or not len(y):
        faults.append(f"{part}_y is {y.dtype} {y.shape}, expected int64 (n,) with n >= 1")
    elif y.min() < 0 or y.max() >= dataset.num_classes:
        faults.append(
            f"{part}_y has labels from {y.min()} to {y.max()}, expected 0 to "
            f"{dataset.num_classes - 1}"
        )
    return faults
