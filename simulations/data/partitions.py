"""Which client holds which training examples.

Every partition gives each training example to exactly one client, and every client at least
one. It depends on nothing but the section, the labels (or sites) and the seed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError
from simulations.data.dataset import Dataset
from simulations.experiment import BySitePartition, DirichletPartition, IidPartition, Partition
from simulations.seeds import generator

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shares:
    """Each client's sorted indices into the training examples, and its name.

    ``names`` are ``client 0``, ``client 1``, ... or the names of the sites.
    """

    indices: tuple[Indices, ...]
    names: tuple[str, ...]


def divide(config: Partition, dataset: Dataset, seed: int) -> Shares:
    """Divide the training examples of a data set among clients.

    Parameters
    ----------
    config
        The ``[partition]`` section.
    dataset
        With held-out examples already taken out.
    seed
        The experiment's root seed.

    Raises
    ------
    ConfigError
        If there are too few examples for so many clients, or the sites do not fit.
    """
    if isinstance(config, BySitePartition):
        return by_site(config, dataset)
    rng = generator(seed, "partition")
    names = tuple(f"client {number}" for number in range(config.clients))
    least = config.min_examples if isinstance(config, DirichletPartition) else 1
    _check_size(config.clients, least, len(dataset.train_y), dataset.name)
    if isinstance(config, IidPartition):
        return Shares(iid(len(dataset.train_y), config.clients, rng), names)
    indices = dirichlet(dataset.train_y, config.clients, config.alpha, config.min_examples, rng)
    return Shares(indices, names)


def iid(examples: int, clients: int, rng: np.random.Generator) -> tuple[Indices, ...]:
    """Deal shuffled examples; the first ``examples % clients`` clients get one more."""
    order = rng.permutation(examples)
    return tuple(np.sort(part) for part in np.array_split(order, clients))


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


def by_site(config: BySitePartition, dataset: Dataset) -> Shares:
    """Give each site's examples to the client of the same number.

    Raises
    ------
    ConfigError
        If the data set names no sites, or not ``partition.clients`` of them.
    """
    if dataset.sites is None or len(dataset.site_names) != config.clients:
        raise ConfigError(
            f"partition.clients = {config.clients}, but data set {dataset.name} has "
            f"{len(dataset.site_names)} sites"
        )
    sites = dataset.sites
    indices = tuple(np.flatnonzero(sites == site) for site in range(config.clients))
    for name, part in zip(dataset.site_names, indices, strict=True):
        if len(part) == 0:
            raise ConfigError(
                f"data set {dataset.name}: site {name} has no training examples (data.max_train?)"
            )
    return Shares(indices, dataset.site_names)


def class_counts(shares: Shares, labels: NDArray[np.int64], num_classes: int) -> Indices:
    """Count each client's examples of each class: shape ``(clients, num_classes)``."""
    return np.stack([np.bincount(labels[part], minlength=num_classes) for part in shares.indices])


def _check_size(clients: int, least: int, examples: int, name: str) -> None:
    if clients * least > examples:
        wanted = f"at least {least} for each of" if least > 1 else "one for each of"
        raise ConfigError(
            f"data set {name} has {examples} training examples, not {wanted} "
            f"partition.clients = {clients}"
            + (f" (partition.min_examples = {least})" if least > 1 else "")
        )


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
