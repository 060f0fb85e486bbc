"""What data of one's own has in common, whatever holds it: sites, test part, classes.

The examples are read by the participants' own loaders (:mod:`clients.data`), so that what an
experiment tries is what a founded federation reads. Not handled: features that the loaders do not
make (write a ``module:function`` loader), and labels that are no classes.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from clients.data.examples import LocalData
from clients.data.load import read_examples
from coordinator.protocol.errors import ConfigError
from coordinator.settings.learning import Features
from coordinator.settings.participant import ParticipantData
from simulations.data.base import DataSource, Fraction01
from simulations.data.dataset import Dataset, Indices, split_by_class

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class OwnExamples:
    """What was read: one part a site, or a single part, and the test part, if it is one's own.

    ``classes`` are the classes' names in order, empty where only the labels tell how many.
    """

    parts: tuple[LocalData, ...]
    test: LocalData | None
    classes: tuple[str, ...] = ()


class OwnData(DataSource):
    """Data of one's own. ``num_classes`` 0: as many as are named, else the highest label and one.

    ``test_fraction`` of each class, at each site, is for the test, unless there is a test part.
    """

    num_classes: int = Field(default=0, ge=0, le=65_536)
    test_fraction: Fraction01 = 0.2

    _beside: Path = PrivateAttr(default=Path())

    def place_beside(self, folder: Path) -> None:
        """Say where relative paths start if no ``--data`` is given: the experiment's folder."""
        self._beside = folder

    @property
    @abstractmethod
    def site_names(self) -> tuple[str, ...]:
        """Names of the sites; empty where the data is one part."""

    @abstractmethod
    def examples(self, folder: Path) -> OwnExamples:
        """Read everything; relative paths start at ``folder``."""

    def faults(self) -> Iterator[str]:
        """Yield a site that is named twice."""
        for name, count in Counter(self.site_names).items():
            if count > 1:
                yield f"data.sites names {name} {count} times; expected each site once"

    def site_faults(self, clients: int) -> Iterator[str]:
        """Yield another number of clients than of sites."""
        if not self.site_names:
            yield 'partition.kind = "by_site" needs data.sites, a list with one entry a site'
        elif clients != len(self.site_names):
            yield (
                f"partition.clients = {clients}, but data.sites names {len(self.site_names)} "
                '(partition.kind = "by_site" makes each site one client)'
            )

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Read all sites, and split each by class unless there is a test part.

        Raises
        ------
        ConfigError
            If a file cannot be read, parts have different shapes, a label is beyond the classes, or
            nothing is left for training or test; names the file and what was expected.
        """
        own = self.examples(self._beside if folder is None else folder)
        everything = [*own.parts, *([] if own.test is None else [own.test])]
        _check_shapes(everything)
        classes = self._classes(own, everything)
        splits = [self._split(part, own.test, rng) for part in own.parts]
        train, taken = [split[0] for split in splits], [split[1] for split in splits]
        if own.test is None:
            test_x = _gathered([part.x for part in own.parts], taken)
            test_y = _gathered([part.y for part in own.parts], taken)
        else:
            test_x, test_y = own.test.x, own.test.y
        for name, count in (("training", sum(map(len, train))), ("test", len(test_y))):
            if not count:
                raise ConfigError(
                    f"{own.parts[0].source}: data.test_fraction = {self.test_fraction} leaves no "
                    f"{name} example of {sum(map(len, own.parts))}"
                )
        has_sites = bool(self.site_names)
        return Dataset(
            name=self.kind,
            train_x=_gathered([part.x for part in own.parts], train),
            train_y=_gathered([part.y for part in own.parts], train),
            test_x=test_x,
            test_y=test_y,
            num_classes=len(classes),
            input_shape=own.parts[0].x.shape[1:],
            class_names=classes,
            sites=_numbers(train) if has_sites else None,
            test_sites=_numbers(taken) if has_sites and own.test is None else None,
            site_names=self.site_names,
        )

    def _split(
        self, part: LocalData, test: LocalData | None, rng: np.random.Generator
    ) -> tuple[Indices, Indices]:
        if test is not None:
            return np.arange(len(part)), np.arange(0)
        return split_by_class(part.y, self.test_fraction, rng)

    def _classes(self, own: OwnExamples, everything: Sequence[LocalData]) -> tuple[str, ...]:
        """Return the classes' names; ``ConfigError`` if a label is beyond them."""
        highest = max(int(part.y.max()) for part in everything)
        numbered = tuple(str(label) for label in range(self.num_classes or max(2, highest + 1)))
        classes = own.classes or numbered
        if len(classes) < 2:
            raise ConfigError(
                f"{own.parts[0].source}: only class {classes[0]}, expected 2 classes or more"
            )
        key = "data.num_classes" if self.num_classes else "data.classes"
        for part in everything:
            beyond = np.flatnonzero(part.y >= len(classes))
            if len(beyond):
                raise ConfigError(
                    f"{part.source}: label of example {beyond[0]} is {part.y[beyond[0]]}, expected "
                    f"0 to {len(classes) - 1} ({key})"
                )
        return classes


class OwnFiles(OwnData):
    """Files of one's own: ``path``, or ``sites`` with one file (or folder) a site.

    ``mean`` and ``scale`` are constants for ``(value - mean) / scale``, one for all features or one
    each. ``test_path`` has the test part.
    """

    path: str = ""
    sites: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    test_path: str = ""
    mean: list[float] = Field(default=[])
    scale: list[Annotated[float, Field(gt=0.0)]] = Field(default=[])

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of the sites' files without their suffixes; the whole paths if two are the same."""
        names = [Path(site).stem for site in self.sites]
        return tuple(names if len(set(names)) == len(names) else self.sites)

    @property
    def paths(self) -> list[str]:
        """The training part's files."""
        return self.sites or [self.path]

    def faults(self) -> Iterator[str]:
        """Yield that no file is named, or both ``path`` and ``sites`` are."""
        yield from super().faults()
        if bool(self.path) == bool(self.sites):
            found = "both are given" if self.path else "neither is given"
            yield f'data.kind = "{self.kind}" needs data.path or data.sites, and {found}'

    @abstractmethod
    def section(self, path: str) -> ParticipantData:
        """Return what a participant's ``[data]`` section would say of one of the files."""

    def test_section(self) -> ParticipantData | None:
        """Return the section of the test part, ``None`` if it is taken from the other files."""
        return self.section(self.test_path) if self.test_path else None

    def resolved(self, folder: Path) -> tuple[Self, Features, tuple[int, ...]]:
        """Return what all files are read with: these options, agreed features, shape of an example.

        Where the first file decides (which columns, which size of images), it is looked into.
        """
        return self, self.agreed([]), ()

    @property
    def class_list(self) -> tuple[str, ...]:
        """Names of the classes in order, as far as the options tell."""
        return ()

    def agreed(self, names: list[str]) -> Features:
        """Return the constants, and the names of the features, as a federation agrees on them."""
        return Features(names=names, mean=self.mean, scale=self.scale)

    def examples(self, folder: Path) -> OwnExamples:
        """Read every file by the participants' loader of this kind."""
        same, agreed, shape = self.resolved(folder)
        test = same.test_section()
        return OwnExamples(
            tuple(read_examples(same.section(path), agreed, shape, folder) for path in same.paths),
            None if test is None else read_examples(test, agreed, shape, folder),
            same.class_list,
        )


def _check_shapes(parts: Sequence[LocalData]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.x.shape[1:] != first.x.shape[1:]:
            raise ConfigError(
                f"{part.source}: examples have shape {part.x.shape[1:]}, expected "
                f"{first.x.shape[1:]} as in {first.source}"
            )


def _gathered(arrays: Sequence[NDArray[Scalar]], chosen: Sequence[Indices]) -> NDArray[Scalar]:
    return np.concatenate([array[taken] for array, taken in zip(arrays, chosen, strict=True)])


def _numbers(chosen: Sequence[Indices]) -> Indices:
    """Return the number of its site for each example."""
    return np.repeat(np.arange(len(chosen)), [len(taken) for taken in chosen])
