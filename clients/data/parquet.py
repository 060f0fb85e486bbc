"""Reads Parquet files: one example per row, with the label in a named column.

Needs pyarrow, the ``parquet`` extra, imported only when such a file is read. Numbers only, as in
:mod:`clients.data.table`: categories, dates and lists are a ``module:function`` loader's.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.examples import LocalData, check_examples
from clients.data.table import TableFormat, chosen_columns, class_of, missing_value, position_of
from coordinator.protocol.errors import ConfigError


def read_parquet(path: Path, layout: TableFormat) -> LocalData:
    """Read a Parquet file of numbers; null and NaN are missing values.

    Raises
    ------
    ConfigError
        If pyarrow is not installed, or a value is malformed or missing; names file, row (from 1),
        column and the expected value.
    """
    with _opened(path) as file:
        names = [str(name) for name in file.schema_arrow.names]
        chosen = [names[at] for at in chosen_columns(names, layout, path)]
        label = names[position_of(names, layout.label, path)]
        table = file.read(columns=[*chosen, label])
    if not table.num_rows:
        raise ConfigError(f"{path}: no examples in the file")
    columns = [_numbers(table.column(name), name, path, layout) for name in chosen]
    labels = [
        class_of(_text(value), f"{path}: row {row}", layout)
        for row, value in enumerate(table.column(label).to_pylist(), 1)
    ]
    x = layout.scaling.applied(np.stack(columns, axis=1), str(path))
    x[np.isnan(x)] = 0.0
    return check_examples(x, np.array(labels), str(path))


def feature_columns(path: Path, layout: TableFormat) -> list[str]:
    """Return the columns that :func:`read_parquet` learns from, in order; errors as there."""
    with _opened(path) as file:
        names = [str(name) for name in file.schema_arrow.names]
    return [names[at] for at in chosen_columns(names, layout, path)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file, and say what is wrong with it if it cannot be read."""
    try:
        reader = importlib.import_module("pyarrow.parquet")
        failure: type[Exception] = importlib.import_module("pyarrow").ArrowException
    except ImportError as error:
        raise ConfigError(
            f'{path}: a Parquet file needs the package pyarrow: pip install "fedproof[parquet]"'
        ) from error
    try:
        with reader.ParquetFile(path) as file:
            yield file
    except (OSError, failure) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read: {reason}") from error


def _numbers(column: Any, name: str, path: Path, layout: TableFormat) -> NDArray[np.float64]:
    """Return a column's values, shape ``(rows,)``; a missing one as its fill, NaN for the mean."""
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype == object and all(value is None or type(value) is bool for value in values):
        values = np.array([np.nan if value is None else float(value) for value in values])
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"{path}: {name} is {column.type}, expected a column of numbers")
    numbers = values.astype(np.float64)
    missing = np.flatnonzero(np.isnan(numbers))
    if len(missing):
        numbers[missing] = missing_value("null", name, f"{path}: row {missing[0] + 1}", layout)
    return numbers


def _text(value: Any) -> str:
    """Return a label as a CSV file would have it: whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)
