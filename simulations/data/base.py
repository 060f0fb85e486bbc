"""What every data set of an experiment is built on: its options, and how it is loaded."""

import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from coordinator.settings.base import Section
from simulations.data.dataset import Dataset
from simulations.data.folder import FOLDER_VARIABLE, DataFolder

Fraction01 = Annotated[float, Field(gt=0.0, lt=1.0)]


class DataSource(Section):
    """A data set: its fields are the ``[data]`` section, :meth:`load` makes the arrays.

    ``max_train`` and ``max_test`` keep at most so many examples, drawn at random; 0 keeps all.

    Attributes
    ----------
    has_images
        Whether its features can be ``(channels, height, width)``, which a CNN needs.
    """

    has_images: ClassVar[bool] = False

    kind: str
    max_train: int = Field(default=0, ge=0)
    max_test: int = Field(default=0, ge=0)

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the options together, each text naming its keys."""
        yield from ()

    def site_faults(self, clients: int) -> Iterator[str]:
        """Yield why ``clients`` clients cannot be its sites, each text naming its keys."""
        yield f'partition.kind = "by_site" needs sites, but data.kind = "{self.kind}" has none'

    @abstractmethod
    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load all of it, split into train and test.

        Parameters
        ----------
        folder
            What ``--data`` gave; ``None`` without it.
        rng
            Decides the split, where the data has none of its own.

        Raises
        ------
        ConfigError
            If a file is missing or corrupt (named, with what was expected there), or what it needs
            is not installed or cannot be reached.
        """


class FolderData(DataSource):
    """A data set whose files are in the data folder; ``folder`` is the config's own."""

    folder: str = ""

    def data_folder(self, option: Path | None) -> DataFolder:
        """Return the data folder: that of ``--data``, of the config, or of the environment."""
        if option is not None:
            return DataFolder(option, "--data")
        if self.folder:
            return DataFolder(Path(self.folder).expanduser(), "data.folder")
        variable = os.environ.get(FOLDER_VARIABLE, "")
        return DataFolder(Path(variable).expanduser() if variable else None, FOLDER_VARIABLE)
