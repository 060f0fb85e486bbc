"""Reads comma-separated files: one example per line, with the label in a named column.

Numbers only. Not handled: categories (write a ``module:function`` loader), dates, quoted line
breaks inside a field.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clients.data.examples import LocalData, Scaling, check_examples
from coordinator.protocol.errors import ConfigError


@dataclass(frozen=True)
class TableFormat:
    """The format of a table.

    Attributes
    ----------
    label
        Name of the label's column.
    features
        Names of the columns to learn from, in the agreed order; empty for all others, in the
        file's order.
    columns
        Names of the file's columns if it has no header line.
    classes
        Texts of the label column in order of class; empty if it holds the class numbers.
    positive_above
        If given, the label column is a number, and values above this are class 1, others class 0.
    missing
        Texts that mean a missing value.
    fill
        Replaces a missing value before scaling; ``"mean"`` is the agreed mean, 0 after scaling.
        Without it a missing value is an error.
    scaling
        Agreed for all participants, in the order of the features.
    delimiter
        Separates two values.
    """

    label: str
    features: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    positive_above: float | None = None
    missing: tuple[str, ...] = ("", "?")
    fill: float | Literal["mean"] | None = None
    scaling: Scaling = Scaling()
    delimiter: str = ","


def read_table(path: Path, layout: TableFormat) -> LocalData:
    """Read a file of comma-separated numbers.

    Raises
    ------
    ConfigError
        If a value is malformed or missing; names file, line, column and the expected value.
    """
    with _opened(path) as stream:
        return _read(stream, path, layout)


def feature_columns(path: Path, layout: TableFormat) -> list[str]:
    """Return the columns that :func:`read_table` learns from, in order; errors as there."""
    with _opened(path) as stream:
        names = list(layout.columns) or _header(_lines(stream, layout.delimiter), path)
        return [names[at] for at in chosen_columns(names, layout, path)]


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[str]]:
    """Open a table, and say what is wrong with it if it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8") from error
    except csv.Error as error:
        raise ConfigError(f"{path}: not a table of values: {error}") from error


def _read(stream: Iterator[str], path: Path, layout: TableFormat) -> LocalData:
    lines = _lines(stream, layout.delimiter)
    names = list(layout.columns) or _header(lines, path)
    chosen = chosen_columns(names, layout, path)
    label = position_of(names, layout.label, path)
    features: list[list[float]] = []
    labels: list[int] = []
    for number, fields in lines:
        place = f"{path}:{number}"
        if len(fields) != len(names):
            raise ConfigError(f"{place}: {len(fields)} values, expected {len(names)}")
        features.append([_feature(fields[at], names[at], place, layout) for at in chosen])
        labels.append(class_of(fields[label], place, layout))
    if not labels:
        raise ConfigError(f"{path}: no examples in the file")
    x = layout.scaling.applied(np.array(features), str(path))
    x[np.isnan(x)] = 0.0
    return check_examples(x, np.array(labels), str(path))


def _lines(stream: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and stripped fields of each line that is not empty."""
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    for fields in reader:
        if any(field.strip() for field in fields):
            yield reader.line_num, [field.strip() for field in fields]


def _header(lines: Iterator[tuple[int, list[str]]], path: Path) -> list[str]:
    first_line = next(lines, None)
    if first_line is None:
        raise ConfigError(f"{path}: the file is empty, expected a line with the columns' names")
    names = first_line[1]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}:{first_line[0]}: column {twice[0]!r} is named more than once")
    return names


def chosen_columns(names: Sequence[str], layout: TableFormat, path: Path) -> list[int]:
    """Return the positions of the features among a file's columns; ``ConfigError`` if one is not.

    Examples
    --------
    >>> chosen_columns(["age", "y", "chol"], TableFormat(label="y"), Path("a.csv"))
    [0, 2]
    """
    if layout.label in layout.features:
        raise ConfigError(f"{path}: the label {layout.label!r} is among the features")
    chosen = layout.features or tuple(name for name in names if name != layout.label)
    if not chosen:
        raise ConfigError(f"{path}: no column besides the label {layout.label!r}")
    return [position_of(names, name, path) for name in chosen]


def position_of(names: Sequence[str], name: str, path: Path) -> int:
    """Return the position of a column; ``ConfigError`` if there is none of that name."""
    if name not in names:
        raise ConfigError(f"{path}: no column {name!r}, found {', '.join(names)[:200]}")
    return names.index(name)


def _feature(text: str, name: str, place: str, layout: TableFormat) -> float:
    if text in layout.missing:
        return missing_value(text, name, place, layout)
    return _number(text, name, place)


def missing_value(text: str, name: str, place: str, layout: TableFormat) -> float:
    """Return what a missing value becomes, NaN for the agreed mean; ``ConfigError`` if unsaid."""
    if layout.fill is None:
        raise ConfigError(
            f'{place}: {name} is missing ("{text}"); say what it becomes in data.fill'
        )
    return math.nan if layout.fill == "mean" else layout.fill


def _number(text: str, name: str, place: str, expected: str = "a number") -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise ConfigError(f'{place}: {name} is "{text[:60]}", expected {expected}')
    return value


def class_of(text: str, place: str, layout: TableFormat) -> int:
    """Return the class that the label column's text means; ``ConfigError`` if it means none."""
    if layout.classes:
        if text not in layout.classes:
            raise ConfigError(
                f'{place}: {layout.label} is "{text[:60]}", expected one of '
                f"{', '.join(layout.classes)[:200]}"
            )
        return layout.classes.index(text)
    value = _number(text, layout.label, place, "a number (or all classes' texts in data.classes)")
    if layout.positive_above is not None:
        return int(value > layout.positive_above)
    if value < 0 or value != int(value):
        raise ConfigError(f'{place}: {layout.label} is "{text}", expected a class, 0 or more')
    return int(value)
