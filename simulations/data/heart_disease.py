"""UCI Heart Disease of four hospitals (Janosi, Steinbrunn, Pfisterer, Detrano; CC BY 4.0).

Each hospital's file has 14 comma-separated columns; ``?`` is a missing value, and so is a
cholesterol or resting blood pressure of 0 (all of Switzerland's cholesterol is). The target is
``num > 0``.

No statistic of any hospital's data enters the features: numbers are centred and scaled by fixed
public reference values, a missing number becomes that reference value (0 after scaling), a
missing category becomes all zeros, and each column with missing values has an indicator. So the
encoding reveals nothing about another hospital's patients, nor about the test set (ADR 52).
"""

import codecs
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from coordinator.protocol.errors import ConfigError
from simulations.data.base import FolderData, Fraction01
from simulations.data.dataset import Dataset, split_by_class

Scalar = TypeVar("Scalar", bound=np.generic)

Hospital = Literal["cleveland", "hungarian", "switzerland", "va"]
HOSPITALS: tuple[Hospital, ...] = ("cleveland", "hungarian", "switzerland", "va")

SUBFOLDER = "heart-disease"
COLUMNS = (
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
    "num",
)
# (centre, scale): round clinical reference values, not statistics of these files.
NUMBERS = {
    "age": (55.0, 10.0),
    "trestbps": (130.0, 20.0),
    "chol": (220.0, 50.0),
    "thalach": (140.0, 25.0),
    "oldpeak": (1.0, 1.0),
    "ca": (0.5, 1.0),
}
CATEGORIES = {
    "sex": (0, 1),
    "cp": (1, 2, 3, 4),
    "fbs": (0, 1),
    "restecg": (0, 1, 2),
    "exang": (0, 1),
    "slope": (1, 2, 3),
    "thal": (3, 6, 7),
}
ZERO_IS_MISSING = ("trestbps", "chol")
NEVER_MISSING = ("age", "sex", "cp")
CLASS_NAMES = ("healthy", "disease")


class HeartDiseaseData(FolderData):
    """UCI Heart Disease of up to four hospitals, from ``heart-disease/`` of the data folder."""

    kind: Literal["heart_disease"] = "heart_disease"
    test_fraction: Fraction01 = 0.25
    sites: list[Hospital] = Field(default=list(HOSPITALS), min_length=1)

    def faults(self) -> Iterator[str]:
        """Yield a text if a hospital is named twice."""
        if len(set(self.sites)) != len(self.sites):
            yield f"data.sites names a hospital twice: {', '.join(self.sites)}"

    def site_faults(self, clients: int) -> Iterator[str]:
        """Yield a text if the number of clients is not that of hospitals."""
        if clients != len(self.sites):
            yield (
                f"partition.clients = {clients}, but data.sites names {len(self.sites)} "
                '(partition.kind = "by_site" makes each site one client)'
            )

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load the chosen hospitals, each split into train and test by class on its own.

        Raises
        ------
        ConfigError
            If a file is missing, or a line of it is not 14 valid values (file and line named).
        """
        names = [f"processed.{site}.data" for site in self.sites]
        tables = [read_hospital(path) for path in self.data_folder(folder).files(SUBFOLDER, names)]
        features = [encode(table) for table in tables]
        labels = [(table[:, -1] > 0).astype(np.int64) for table in tables]
        splits = [split_by_class(y, self.test_fraction, rng) for y in labels]
        train = [split[0] for split in splits]
        test = [split[1] for split in splits]
        return Dataset(
            name="heart_disease",
            train_x=_gather(features, train),
            train_y=_gather(labels, train),
            test_x=_gather(features, test),
            test_y=_gather(labels, test),
            num_classes=len(CLASS_NAMES),
            input_shape=features[0].shape[1:],
            class_names=CLASS_NAMES,
            sites=_site_of(train),
            test_sites=_site_of(test),
            site_names=tuple(self.sites),
        )


def read_hospital(path: Path) -> NDArray[np.float64]:
    """Read one hospital's file into shape ``(patients, 14)``, missing values as NaN.

    Raises
    ------
    ConfigError
        Naming file, line and column of the first malformed value.
    """
    try:
        # some programs begin a text file with a mark
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("ascii").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not ASCII") from error
    rows = [_row(line, f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ConfigError(f"{path}: no patients in the file")
    return np.array(rows)


def encode(table: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn raw columns into features; see the module docstring.

    Parameters
    ----------
    table
        Shape ``(patients, 14)``, missing values as NaN. Not modified.

    Returns
    -------
    Shape ``(patients, features)``: numbers, categories one-hot, missing indicators.
    """
    columns = dict(zip(COLUMNS, table.T, strict=True))
    parts = [(columns[name] - centre) / scale for name, (centre, scale) in NUMBERS.items()]
    for name, values in CATEGORIES.items():
        known = values[1:] if len(values) == 2 else values
        parts += [(columns[name] == value).astype(np.float64) for value in known]
    parts += [
        np.isnan(columns[name]).astype(np.float64)
        for name in COLUMNS[:-1]
        if name not in NEVER_MISSING
    ]
    filled: NDArray[np.float64] = np.nan_to_num(np.stack(parts, axis=1), nan=0.0)
    return filled.astype(np.float32)


def _row(line: str, place: str) -> list[float]:
    fields = line.split(",")
    if len(fields) != len(COLUMNS):
        raise ConfigError(f"{place}: {len(fields)} values, expected {len(COLUMNS)}")
    return [_field(text.strip(), name, place) for name, text in zip(COLUMNS, fields, strict=True)]


def _field(text: str, name: str, place: str) -> float:
    if text == "?" and name not in (*NEVER_MISSING, "num"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f'{place}: {name} is "{text}", expected a number')
    if name in CATEGORIES and value not in CATEGORIES[name]:
        expected = ", ".join(str(choice) for choice in CATEGORIES[name])
        raise ConfigError(f"{place}: {name} is {text}, expected one of {expected}")
    return math.nan if value == 0 and name in ZERO_IS_MISSING else value


def _gather(
    arrays: Sequence[NDArray[Scalar]], chosen: Sequence[NDArray[np.int64]]
) -> NDArray[Scalar]:
    return np.concatenate([array[indices] for array, indices in zip(arrays, chosen, strict=True)])


def _site_of(chosen: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(chosen)), [len(indices) for indices in chosen])
