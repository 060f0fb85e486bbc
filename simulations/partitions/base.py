"""What every partition is built on: its options, and how it divides the training examples."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from coordinator.settings.base import Section
from simulations.data.base import DataSource
from simulations.data.dataset import Dataset

Indices = NDArray[np.int64]
Clients = Annotated[int, Field(ge=1, le=100_000)]


class PartitionRule(Section):
    """A partition: its fields are the ``[partition]`` section, :meth:`divide` deals examples."""

    kind: str
    clients: Clients = 10

    @property
    def least_examples(self) -> int:
        """Fewest examples of a client, 1 or more."""
        return 1

    def faults(self, data: DataSource) -> Iterator[str]:
        """Yield what contradicts the ``[data]`` section, each text naming its keys."""
        yield from ()

    def names(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the clients' names for reports: ``client 0``, ``client 1``, ..."""
        return tuple(f"client {number}" for number in range(self.clients))

    @abstractmethod
    def divide(self, dataset: Dataset, rng: np.random.Generator) -> Sequence[Indices]:
        """Give each training example to one client.

        Parameters
        ----------
        dataset
            With held-out examples already taken out. It has at least ``clients *
            least_examples`` training examples.
        rng
            The partition's own.

        Returns
        -------
        For each client the indices of its training examples, int64, at least one and none of
        another client's.

        Raises
        ------
        ConfigError
            If the data cannot be divided so.
        """
