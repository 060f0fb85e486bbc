"""Loads a participant's ``[data]`` section as examples that fit the federation's model."""

from dataclasses import replace
from pathlib import Path
from typing import assert_never

from clients.data.arrays import read_npy, read_npz
from clients.data.examples import LocalData, Scaling, check_fits
from clients.data.function import call_loader
from clients.data.parquet import read_parquet
from clients.data.table import TableFormat, read_table
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import ModelShape
from coordinator.settings.learning import Features
from coordinator.settings.participant import (
    CsvData,
    IdxData,
    ImageFolderData,
    NumpyData,
    ParquetData,
    ParticipantData,
    PythonData,
    TableData,
)


def load_data(
    section: ParticipantData,
    agreed: Features,
    architecture: ModelShape,
    folder: Path,
    max_examples: int = 0,
) -> LocalData:
    """Load a participant's examples, scaled as agreed and checked against the model.

    Parameters
    ----------
    section
        Kind and files of the data.
    agreed
        The federation's agreed names and constants of features.
    architecture
        The federation's model.
    folder
        Folder for relative paths.
    max_examples
        The most examples that may be used; 0 for all.

    Raises
    ------
    ConfigError
        If a file is wrong; names file, place, and the values found and expected.
    """
    loaded = read_examples(section, agreed, architecture.input_shape, folder)
    return check_fits(loaded, architecture).first(max_examples)


def read_examples(
    section: ParticipantData, agreed: Features, shape: tuple[int, ...], folder: Path
) -> LocalData:
    """Read the examples that a section names, scaled as agreed; not yet compared with a model.

    Parameters
    ----------
    shape
        Shape of one example; only images are read by it.

    Raises
    ------
    ConfigError
        As :func:`load_data`.
    """
    scaling = Scaling(tuple(agreed.mean) or (0.0,), tuple(agreed.scale) or (1.0,))
    match section:
        case CsvData():
            return read_table(folder / section.path, csv_format(section, agreed))
        case ParquetData():
            return read_parquet(folder / section.path, table_format(section, agreed))
        case NumpyData(labels_path=""):
            return read_npz(folder / section.path, section.features, section.labels, scaling)
        case NumpyData():
            return read_npy(folder / section.path, folder / section.labels_path, scaling)
        case IdxData():
            from clients.data.images import read_idx_pair  # Pillow, only where needed

            return read_idx_pair(folder / section.images, folder / section.labels, shape, scaling)
        case ImageFolderData(classes=classes, grey=grey):
            from clients.data.images import read_image_folder

            return read_image_folder(folder / section.path, shape, classes, scaling, grey=grey)
        case PythonData():
            return call_loader(section.function, section.options)
        case _:
            assert_never(section)


def csv_format(section: CsvData, agreed: Features) -> TableFormat:
    """Return how a CSV file is read; ``ConfigError`` if its features are not as many as agreed."""
    return replace(
        table_format(section, agreed),
        columns=tuple(section.columns),
        missing=tuple(section.missing),
        delimiter=section.delimiter,
    )


def table_format(section: TableData, agreed: Features) -> TableFormat:
    """Return what any table says; ``ConfigError`` if its features are not as many as agreed."""
    own, common = tuple(section.features), tuple(agreed.names)
    if own and common and len(own) != len(common):
        raise ConfigError(
            f"data.features names {len(own)} columns, the federation agreed on {len(common)}: "
            f"{', '.join(common)[:200]}"
        )
    label = section.label
    if agreed.label and "label" not in section.model_fields_set:
        label = agreed.label
    return TableFormat(
        label=label,
        features=own or common,
        classes=tuple(section.classes),
        positive_above=section.positive_above,
        fill=section.fill,
        scaling=Scaling(tuple(agreed.mean) or (0.0,), tuple(agreed.scale) or (1.0,)),
    )
