"""Tables of one's own: CSV and Parquet files, read as a participant's are."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from clients.data import parquet, table
from clients.data.load import csv_format, table_format
from coordinator.settings.learning import Features
from coordinator.settings.participant import CsvData, ParquetData, TableData
from simulations.data.own_data import OwnFiles


class OwnTables(OwnFiles, TableData):
    """Tables of one's own; without ``features`` the first file's columns but the label."""

    path: str = ""

    @property
    def class_list(self) -> tuple[str, ...]:
        """The texts of the label column, or the two classes of a threshold."""
        return tuple(self.classes) or (() if self.positive_above is None else ("0", "1"))

    def faults(self) -> Iterator[str]:
        """Yield a number of classes that is not the number of those listed."""
        yield from super().faults()
        listed = len(self.class_list)
        if listed and self.num_classes not in (0, listed):
            key = "classes" if self.classes else "positive_above"
            yield f"data.num_classes = {self.num_classes}, but data.{key} makes {listed}"
        if self.classes and self.positive_above is not None:
            yield "data.classes and data.positive_above are both given; expected one of them"

    def resolved(self, folder: Path) -> tuple[Self, Features, tuple[int, ...]]:
        """Take the features from the first file, so that all files have theirs in its order."""
        names = self.features or self.columns_of(folder)
        return self.model_copy(update={"features": names}), self.agreed(names), ()

    @abstractmethod
    def columns_of(self, folder: Path) -> list[str]:
        """Return the columns of the first file that are features."""


class CsvTables(OwnTables, CsvData):
    """CSV files of one's own: ``path``, or ``sites`` with one file a site."""

    kind: Literal["csv"] = "csv"
    path: str = ""

    def section(self, path: str) -> CsvData:
        """Return the section of one file."""
        return self.model_copy(update={"path": path})

    def columns_of(self, folder: Path) -> list[str]:
        """Return the columns of the first file that are features."""
        return table.feature_columns(folder / self.paths[0], csv_format(self, Features()))


class ParquetTables(OwnTables, ParquetData):
    """Parquet files of one's own (the ``parquet`` extra): ``path``, or one file a site."""

    kind: Literal["parquet"] = "parquet"
    path: str = ""

    def section(self, path: str) -> ParquetData:
        """Return the section of one file."""
        return self.model_copy(update={"path": path})

    def columns_of(self, folder: Path) -> list[str]:
        """Return the columns of the first file that are features."""
        return parquet.feature_columns(folder / self.paths[0], table_format(self, Features()))
