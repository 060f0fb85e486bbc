"""Which client holds which training examples: one file a partition.

Every partition gives each training example to exactly one client, and every client at least
one. It depends on nothing but the section, the labels (or sites) and the seed. A file of this
package that defines a :class:`PartitionRule` with a ``kind`` is a kind of ``[partition]``; a class
elsewhere is named as ``kind = "module:Name"``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry, outside_code
from coordinator.settings.kinds import ByKind, kind_of
from simulations.data import Dataset
from simulations.partitions.base import Indices, PartitionRule
from simulations.seeds import generator

__all__ = [
    "PARTITIONS",
    "Indices",
    "Partition",
    "PartitionRule",
    "Shares",
    "class_counts",
    "divide",
]

PARTITIONS: Registry[type[PartitionRule]] = Registry.of_classes(
    __name__,
    PartitionRule,  # type: ignore[type-abstract]  # no instance is made of it
    what="partition",
    name_of=kind_of,
)
Partition = Annotated[PartitionRule, ByKind(PARTITIONS, default="iid")]
"""The ``[partition]`` section."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Each client's sorted indices into the training examples, and its name.

    ``names`` are ``client 0``, ``client 1``, ... or the names of the sites.
    """

    indices: tuple[Indices, ...]
    names: tuple[str, ...]


def divide(config: PartitionRule, dataset: Dataset, seed: int) -> Shares:
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
        If there are too few examples for so many clients, the sites do not fit, or the partition
        leaves an example out, gives it away twice, or gives a client none.
    OutsideCodeError
        If a partition from outside the package raises something else.
    """
    place = f'partition.kind = "{config.kind}"'
    with outside_code(config.kind, f"{place}: names"):
        names = config.names(dataset)
    _check_size(config, dataset)
    with outside_code(config.kind, f"{place}: divide"):
        dealt = config.divide(dataset, generator(seed, "partition"))
    _check_dealt(config, dealt, len(dataset.train_y))
    return Shares(tuple(np.sort(part) for part in dealt), names)


def class_counts(shares: Shares, labels: NDArray[np.int64], num_classes: int) -> Indices:
    """Count each client's examples of each class: shape ``(clients, num_classes)``."""
    return np.stack([np.bincount(labels[part], minlength=num_classes) for part in shares.indices])


def _check_size(config: PartitionRule, dataset: Dataset) -> None:
    least, examples = config.least_examples, len(dataset.train_y)
    if config.clients * least > examples:
        wanted = f"at least {least} for each of" if least > 1 else "one for each of"
        raise ConfigError(
            f"data set {dataset.name} has {examples} training examples, not {wanted} "
            f"partition.clients = {config.clients}"
            + (f" (partition.min_examples = {least})" if least > 1 else "")
        )


def _check_dealt(config: PartitionRule, dealt: object, examples: int) -> None:
    place = f'partition.kind = "{config.kind}"'
    if not isinstance(dealt, Sequence):
        raise ConfigError(f"{place}: divide gave {type(dealt).__name__}, expected a list of arrays")
    if len(dealt) != config.clients:
        raise ConfigError(f"{place}: divide gave {len(dealt)} shares, expected {config.clients}")
    for client, part in enumerate(dealt):
        if not isinstance(part, np.ndarray):
            raise ConfigError(
                f"{place}: divide gave client {client} a {type(part).__name__}, expected a numpy "
                "array"
            )
        if part.dtype != np.int64 or part.ndim != 1 or not len(part):
            raise ConfigError(
                f"{place}: divide gave client {client} {part.dtype} {part.shape}, expected int64 "
                "(n,) with n >= 1"
            )
    held = np.sort(np.concatenate(dealt))
    if not np.array_equal(held, np.arange(examples)):
        raise ConfigError(
            f"{place}: divide gave {len(held)} indices, expected each of 0 to {examples - 1} once"
        )
