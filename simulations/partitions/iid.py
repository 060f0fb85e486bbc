"""Shuffled examples in equal shares."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from simulations.data.dataset import Dataset
from simulations.partitions.base import Indices, PartitionRule


class IidPartition(PartitionRule):
    """Every client draws from the same distribution; sizes differ by at most one."""

    kind: Literal["iid"] = "iid"

    def divide(self, dataset: Dataset, rng: np.random.Generator) -> Sequence[Indices]:
        """Deal shuffled examples."""
        return iid(len(dataset.train_y), self.clients, rng)


def iid(examples: int, clients: int, rng: np.random.Generator) -> tuple[Indices, ...]:
    """Deal shuffled examples; the first ``examples % clients`` clients get one more."""
    order = rng.permutation(examples)
    return tuple(np.sort(part) for part in np.array_split(order, clients))
