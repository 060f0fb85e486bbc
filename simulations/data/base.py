"""The base classes of an experiment's data sets: their options and how they are loaded."""

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
    """A data set: its fields are the ``[data]`` section, :meth:`load` returns the arrays.

    ``max_train`` and ``max_test`` limit the number of examples, drawn at random; 0 is no limit.

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
        """Yield a text for each contradiction between options, which names their keys."""
        yield from ()

    def site_faults(self, clients: int) -> Iterator[str]:
        """Yield a text for each reason why its sites cannot be ``clients`` clients."""
        yield f'partition.kind = "by_site" needs sites, but data.kind = "{self.kind}" has none'

    @abstractmethod
    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load all examples, split into train and test.

        Parameters
        ----------
        folder
            The folder given by ``--data``, or ``None``.
        rng
            For the split, if the data has none of its own.

        Raises
        ------
        ConfigError
            If a file is missing or corrupt (named, with what was expected there), or a package is
            not installed, or a server cannot be reached.
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
