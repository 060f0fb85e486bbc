"""Each site of the data is one client."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from coordinator.protocol.errors import ConfigError
from simulations.data.base import DataSource
from simulations.data.dataset import Dataset
from simulations.data.heart_disease import HOSPITALS
from simulations.partitions.base import Clients, Indices, PartitionRule


class BySitePartition(PartitionRule):
    """One client for each site (hospital) that the data names."""

    kind: Literal["by_site"] = "by_site"
    clients: Clients = len(HOSPITALS)

    def faults(self, data: DataSource) -> Iterator[str]:
        """Yield why the data's sites cannot be the clients."""
        yield from data.site_faults(self.clients)

    def names(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the names of the sites.

        Raises
        ------
        ConfigError
            If the data set names no sites, or not ``partition.clients`` of them.
        """
        if dataset.sites is None or len(dataset.site_names) != self.clients:
            raise ConfigError(
                f"partition.clients = {self.clients}, but data set {dataset.name} has "
                f"{len(dataset.site_names)} sites"
            )
        return dataset.site_names

    def divide(self, dataset: Dataset, rng: np.random.Generator) -> Sequence[Indices]:
        """Give each site's examples to the client of the same number.

        Raises
        ------
        ConfigError
            If a site has no training examples.
        """
        names, sites = self.names(dataset), dataset.sites
        indices = [np.flatnonzero(sites == site) for site in range(self.clients)]
        for name, part in zip(names, indices, strict=True):
            if len(part) == 0:
                raise ConfigError(
                    f"data set {dataset.name}: site {name} has no training examples "
                    "(data.max_train?)"
                )
        return indices
