"""The four hospitals' data: a CSV file for each, and the agreed constants.

Columns have raw values; an empty cell is a missing value, and becomes the agreed mean. Means and
scales are round clinical reference values (or, for the bundled data, rounded figures of a published
data set), so that no hospital has to reveal its own statistics (ADR 52).
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from coordinator.settings.learning import Features
from simulations.data import FOLDER_VARIABLE
from simulations.data.dataset import split_by_class
from simulations.data.folder import DataFolder
from simulations.data.heart_disease import (
    CATEGORIES,
    COLUMNS,
    NEVER_MISSING,
    NUMBERS,
    SUBFOLDER,
    read_hospital,
)
from simulations.seeds import generator

TEST_FRACTION = 0.25
SEED = 3
_HOSPITALS = {
    "cleveland": "cleveland",
    "budapest": "hungarian",
    "zurich-basel": "switzerland",
    "long-beach": "va",
}

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Hospital:
    """One hospital's patients; the test part is not used for training.

    ``train_x`` and ``test_raw`` have shape ``(n, features)``, raw values with NaN where one is
    missing; ``test_x`` is scaled as agreed, float32.
    """

    name: str
    train_x: Table
    train_y: NDArray[np.int64]
    test_raw: Table
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]

    def csv(self, features: Features) -> str:
        """Return the training part as a CSV file with a header line."""
        return self._csv(features, self.train_x, self.train_y)

    def test_csv(self, features: Features) -> str:
        """Return the test part as a CSV file with a header line."""
        return self._csv(features, self.test_raw, self.test_y)

    @staticmethod
    def _csv(features: Features, x: Table, y: NDArray[np.int64]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*features.names, features.label])
        for row, label in zip(x, y, strict=True):
            writer.writerow([*("" if math.isnan(v) else f"{v:.10g}" for v in row), int(label)])
        return text.getvalue()


@dataclass(frozen=True)
class HospitalData:
    """All hospitals and their agreed columns; ``title`` describes the data for people."""

    title: str
    features: Features
    hospitals: tuple[Hospital, ...]


def load_hospitals(folder: Path | None, named_by: str = "--data") -> HospitalData:
    """Load the heart-disease data of four hospitals, or, without a folder, the bundled data.

    Parameters
    ----------
    folder
        The data folder, with ``heart-disease/`` in it.
    named_by
        The option or variable that gave it, for messages.

    Raises
    ------
    ConfigError
        If a folder is given and a file is missing or malformed.
    """
    if folder is None:
        return _bundled()
    source = DataFolder(folder, named_by)
    paths = source.files(SUBFOLDER, [f"processed.{site}.data" for site in _HOSPITALS.values()])
    tables = [read_hospital(path) for path in paths]
    features = _heart_columns()
    hospitals = [
        _hospital(name, _raw_features(table), (table[:, -1] > 0).astype(np.int64), features)
        for name, table in zip(_HOSPITALS, tables, strict=True)
    ]
    return HospitalData("heart disease, four hospitals", features, tuple(hospitals))


def data_folder(given: Path | None, environment: str | None) -> tuple[Path | None, str]:
    """Return the data folder and its source: the option, else the environment variable."""
    if given is not None:
        return given, "--data"
    return (Path(environment), FOLDER_VARIABLE) if environment else (None, "")


# --- heart disease ------------------------------------------------------------------------------


def _heart_columns() -> Features:
    """Return names and constants: numbers, categories one by one, indicators of what is missing."""
    plain = [
        *(f"{name}={value}" for name, values in CATEGORIES.items() for value in _known(values)),
        *(f"{name} missing" for name in COLUMNS[:-1] if name not in NEVER_MISSING),
    ]
    centres, scales = zip(*NUMBERS.values(), strict=True)
    return Features(
        names=[*NUMBERS, *plain],
        mean=[*centres, *[0.0] * len(plain)],
        scale=[*scales, *[1.0] * len(plain)],
        label="disease",
    )


def _raw_features(table: Table) -> Table:
    """Return the columns of :func:`_heart_columns`, missing numbers as NaN."""
    columns = dict(zip(COLUMNS, table.T, strict=True))
    parts = [columns[name] for name in NUMBERS]
    for name, values in CATEGORIES.items():
        parts += [(columns[name] == value).astype(np.float64) for value in _known(values)]
    parts += [
        np.isnan(columns[name]).astype(np.float64)
        for name in COLUMNS[:-1]
        if name not in NEVER_MISSING
    ]
    return np.stack(parts, axis=1)


def _known(values: Sequence[int]) -> Sequence[int]:
    """Return the values that get a column; of two, one column is enough."""
    return values[1:] if len(values) == 2 else values


# --- bundled ------------------------------------------------------------------------------------


def _bundled() -> HospitalData:
    """Divide scikit-learn's 569 tumours among four hospitals, at random."""
    bunch = datasets.load_breast_cancer()
    x, y = np.asarray(bunch.data, np.float64), np.asarray(bunch.target, np.int64)
    features = Features(
        names=[str(name) for name in bunch.feature_names],
        mean=[float(f"{value:.2g}") for value in x.mean(axis=0)],
        scale=[float(f"{value:.2g}") for value in x.std(axis=0)],
        label="benign",
    )
    parts = np.array_split(generator(SEED, "hospitals").permutation(len(y)), len(_HOSPITALS))
    hospitals = [
        _hospital(name, x[part], y[part], features)
        for name, part in zip(("north", "east", "south", "west"), parts, strict=True)
    ]
    return HospitalData("breast tumours, divided among four", features, tuple(hospitals))


def _hospital(name: str, x: Table, y: NDArray[np.int64], features: Features) -> Hospital:
    train, test = split_by_class(y, TEST_FRACTION, generator(SEED, "split", name))
    scaled = (x[test] - np.array(features.mean)) / np.array(features.scale)
    scaled_x = np.nan_to_num(scaled).astype(np.float32)
    return Hospital(name, x[train], y[train], x[test], scaled_x, y[test])
