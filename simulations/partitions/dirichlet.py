"""Label skew (Hsu, Qi, Brown 2019)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulations.data.dataset import Dataset
from simulations.partitions.base import Indices, PartitionRule


class DirichletPartition(PartitionRule):
    """Label skew: each class is split by shares from a symmetric Dirichlet (Hsu et al. 2019)."""

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(default=0.5, ge=1e-3, le=1e6)
    min_examples: int = Field(default=1, ge=1)

    @property
    def least_examples(self) -> int:
        """``min_examples``."""
        return self.min_examples

    def divide(self, dataset: Dataset, rng: np.random.Generator) -> Sequence[Indices]:
        """Split each class by drawn shares, then top up."""
        return dirichlet(dataset.train_y, self.clients, self.alpha, self.min_examples, rng)


def dirichlet(
    labels: NDArray[np.int64],
    clients: int,
    alpha: float,
    min_examples: int,
    rng: np.random.Generator,
) -> tuple[Indices, ...]:
    """Split each class by shares drawn from a symmetric Dirichlet distribution.

    Parameters
    ----------
    labels
        Shape ``(n,)``.
    clients
        Number of clients; ``clients * min_examples <= n``.
    alpha
        Concentration: near 0 a class has one owner, large approaches IID.
    min_examples
        Clients that drew fewer get random examples of whoever has most, one at a time. (The
        usual way, drawing again until all have enough, may never end.)
    rng
        Used up in order of class.

    References
    ----------
    Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution", 2019,
    arXiv:1909.06335. There a client draws its classes; here, as is common, a class draws its
    clients.
    """
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
        bounds = np.minimum((cuts * len(members) + 0.5).astype(np.int64), len(members))
        for client, part in enumerate(np.split(members, bounds)):
            owner[part] = client
    _top_up(owner, clients, min_examples, rng)
    return tuple(np.flatnonzero(owner == client) for client in range(clients))


def _top_up(owner: Indices, clients: int, min_examples: int, rng: np.random.Generator) -> None:
    """Move examples, in place, from the largest share to those below the minimum."""
    counts = np.bincount(owner, minlength=clients)
    for client in np.flatnonzero(counts < min_examples):
        while counts[client] < min_examples:
            largest = int(np.argmax(counts))
            moved = rng.choice(np.flatnonzero(owner == largest))
            owner[moved] = client
            counts[largest] -= 1
            counts[client] += 1
