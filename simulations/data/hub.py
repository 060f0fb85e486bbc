"""Any labelled data set of the Hugging Face hub, through Flower's ``flwr-datasets``.

An optional extra (``pip install "fedproof[hub]"``), imported only for a config that uses it. The
whole split is loaded here and divided by :mod:`simulations.partitions`, as every data set is.
``data.revision`` pins the downloaded version.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from coordinator.protocol.errors import ConfigError
from simulations.data.base import DataSource, Fraction01
from simulations.data.dataset import Dataset, split_by_class

MAX_CLASSES = 1_000


class HubData(DataSource):
    """A data set of the Hugging Face hub through ``flwr-datasets`` (the ``hub`` extra)."""

    has_images: ClassVar[bool] = True

    kind: Literal["hub"] = "hub"
    dataset: str = Field(min_length=1)
    subset: str = ""
    revision: str = ""
    label: str = Field(default="label", min_length=1)
    features: list[str] = Field(default=["image"], min_length=1)
    site: str = ""
    train_split: str = Field(default="train", min_length=1)
    test_split: str = ""
    test_fraction: Fraction01 = 0.2
    scale: float = Field(default=255.0, gt=0.0)

    def site_faults(self, clients: int) -> Iterator[str]:
        """Yield a text if no column names the site; the number of sites is known once loaded."""
        if not self.site:
            yield 'partition.kind = "by_site" needs data.site, the column that names the site'

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Download (or take from the local cache) the data set and stack its columns.

        One feature column of images gives ``(channels, height, width)`` divided by ``data.scale``;
        several numeric columns give a vector, divided likewise.

        Raises
        ------
        ConfigError
            If the extra is not installed, the hub or the data set cannot be reached, or a column
            is missing or not numeric.
        """
        place = f"hub data set {self.dataset}"
        train = _split(self, self.train_split)
        x, labels, sites = _columns(train, self, f"{place}, split {self.train_split}")
        if self.test_split:
            test = _split(self, self.test_split)
            test_x, test_labels, test_sites = _columns(
                test, self, f"{place}, split {self.test_split}"
            )
            return _assemble(self, (x, labels, sites), (test_x, test_labels, test_sites), place)
        codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        kept, taken = split_by_class(codes, self.test_fraction, rng)
        return _assemble(
            self,
            (x[kept], labels[kept], sites[kept]),
            (x[taken], labels[taken], sites[taken]),
            place,
        )


def _split(config: HubData, split: str) -> Any:
    # Flower's package sends telemetry for every load unless this is set before the import.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        flwr_datasets: Any = importlib.import_module("flwr_datasets")
    except ImportError as error:
        raise ConfigError(
            'data.kind = "hub" needs the package flwr-datasets: pip install "fedproof[hub]"'
        ) from error
    try:
        source = flwr_datasets.FederatedDataset(
            dataset=config.dataset,
            subset=config.subset or None,
            partitioners={split: 1},
            shuffle=False,
            revision=config.revision or None,
        )
        return source.load_split(split).with_format("numpy")
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"hub data set {config.dataset}, split {split}: cannot be loaded (offline, or not "
            f"there?): {reason[0]}"
        ) from error


Columns = tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]]


def _columns(split: Any, config: HubData, place: str) -> Columns:
    names = [*config.features, config.label, *([config.site] if config.site else [])]
    missing = [name for name in names if name not in split.column_names]
    if missing:
        raise ConfigError(
            f"{place}: no column {missing[0]}; it has {', '.join(split.column_names)}"
        )
    rows = split[:]
    x = _features([np.asarray(rows[name]) for name in config.features], config, place)
    labels = np.asarray(rows[config.label])
    sites = np.asarray(rows[config.site]) if config.site else np.zeros(len(labels), np.int64)
    return x, labels, sites


def _features(columns: Sequence[NDArray[Any]], config: HubData, place: str) -> NDArray[np.float32]:
    for name, column in zip(config.features, columns, strict=True):
        if column.dtype.kind not in "buif":
            raise ConfigError(
                f"{place}: column {name} is {column.dtype}, expected numbers of one shape"
            )
    if len(columns) == 1 and columns[0].ndim > 1:
        x = _channels_first(columns[0])
    elif all(column.ndim == 1 for column in columns):
        x = np.stack(columns, axis=1)
    else:
        raise ConfigError(f"{place}: several feature columns must each hold one number a row")
    # Values beyond float32 may be within it once divided; small integers need no more than it has.
    exact: Any = np.float32 if np.can_cast(x.dtype, np.float32) else np.float64
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        scaled: NDArray[np.float32] = (x.astype(exact) / exact(config.scale)).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise ConfigError(f"{place}: a feature is NaN or infinite, expected finite numbers")
    return scaled


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    if images.ndim == 3:
        return images[:, None, :, :]
    return np.moveaxis(images, 3, 1) if images.ndim == 4 else images


def _assemble(config: HubData, train: Columns, test: Columns, place: str) -> Dataset:
    classes = np.unique(np.concatenate([train[1], test[1]]))
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(
            f"{place}: column {config.label} has {len(classes)} different values, expected 2 to "
            f"{MAX_CLASSES} classes"
        )
    sites = np.unique(np.concatenate([train[2], test[2]]))
    return Dataset(
        name=config.dataset,
        train_x=train[0],
        train_y=np.searchsorted(classes, train[1]),
        test_x=test[0],
        test_y=np.searchsorted(classes, test[1]),
        num_classes=len(classes),
        input_shape=train[0].shape[1:],
        class_names=tuple(str(value) for value in classes),
        sites=np.searchsorted(sites, train[2]) if config.site else None,
        test_sites=np.searchsorted(sites, test[2]) if config.site else None,
        site_names=tuple(str(value) for value in sites) if config.site else (),
    )
