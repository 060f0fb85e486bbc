"""Data sets of the experiments: one call from a config section to arrays.

Bundled with scikit-learn: digits, breast cancer. From a data folder: Fashion-MNIST, the
four-hospital heart-disease data. From the Hugging Face hub: anything with a label column.
"""

import os
from pathlib import Path
from typing import assert_never

from simulations.data.bundled import load_breast_cancer, load_digits
from simulations.data.dataset import Dataset, HeldOut, hold_out, limit
from simulations.data.fashion_mnist import load_fashion_mnist
from simulations.data.folder import FOLDER_VARIABLE, DataFolder
from simulations.data.heart_disease import load_heart_disease
from simulations.data.hub import load_hub
from simulations.experiment import (
    BreastCancerData,
    Data,
    DigitsData,
    FashionMnistData,
    HeartDiseaseData,
    HubData,
)
from simulations.seeds import generator

__all__ = ["FOLDER_VARIABLE", "Dataset", "HeldOut", "hold_out", "load_dataset"]


def load_dataset(config: Data, folder: Path | None, seed: int) -> Dataset:
    """Load a data set, split it into train and test, and apply the config's limits.

    Parameters
    ----------
    config
        The ``[data]`` section.
    folder
        What ``--data`` gave. It wins over ``data.folder`` of the config, which wins over the
        environment variable ``FEDPROOF_DATA``.
    seed
        The experiment's root seed: it decides the split where the data has none of its own,
        and which examples the limits keep.

    Raises
    ------
    ConfigError
        If a folder or a file is missing or corrupt (named, with what was expected there), the
        ``hub`` extra is not installed, or the hub cannot be reached.
    """
    dataset = _load(config, folder, seed)
    return limit(dataset, config.max_train, config.max_test, generator(seed, "data", "limit"))


def _load(config: Data, folder: Path | None, seed: int) -> Dataset:
    rng = generator(seed, "data", "split")
    match config:
        case DigitsData():
            return load_digits(config, rng)
        case BreastCancerData():
            return load_breast_cancer(config, rng)
        case FashionMnistData():
            return load_fashion_mnist(_data_folder(config.folder, folder))
        case HeartDiseaseData():
            return load_heart_disease(config, _data_folder(config.folder, folder), rng)
        case HubData():
            return load_hub(config, rng)
        case _:
            assert_never(config)


def _data_folder(configured: str, option: Path | None) -> DataFolder:
    if option is not None:
        return DataFolder(option, "--data")
    if configured:
        return DataFolder(Path(configured).expanduser(), "data.folder")
    variable = os.environ.get(FOLDER_VARIABLE, "")
    return DataFolder(Path(variable).expanduser() if variable else None, FOLDER_VARIABLE)
