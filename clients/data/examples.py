"""The record of a participant's data, and its checks against the federation's model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import ModelShape

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
_TEST_SPLIT = b"fedproof test share 1"


@dataclass(frozen=True)
class LocalData:
    """A participant's training examples.

    Attributes
    ----------
    x
        Shape ``(n, *input_shape)``, float32, finite.
    y
        Shape ``(n,)``, int64, classes from 0.
    source
        Name of their source, for messages.
    own_classes
        Names of the classes if they were numbered by the participant's own folders; empty if the
        settings or the agreement list the classes, or the file has their numbers.
    """

    x: Features
    y: Labels
    source: str
    own_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.y)

    def first(self, count: int) -> "LocalData":
        """Return at most ``count`` examples, drawn evenly over the file's order; 0 for all."""
        if count == 0 or count >= len(self):
            return self
        kept = np.arange(count) * len(self) // count
        return replace(self, x=self.x[kept], y=self.y[kept])

    def split(self, share: float) -> tuple["LocalData", "LocalData"]:
        """Return the examples to train on, and a share of them, at least one, to test on.

        Both in the order of the file. Which ones is decided by their values alone: the same file
        gives the same split in every life of the process, and rows that are added or moved leave
        nearly all others on their side. (Drawn by row, a longer file would put examples that the
        model was trained on among those it is tested on.)

        Raises
        ------
        ConfigError
            If nothing would be left to train on.
        """
        count = max(1, round(share * len(self)))
        if count >= len(self):
            raise ConfigError(
                f"{self.source}: {len(self)} examples, of which evaluation.test_share = {share:g} "
                f"takes {count}; nothing is left to train on"
            )
        digests = [hashlib.sha256(_TEST_SPLIT + row.tobytes()).digest() for row in self.x]
        order = sorted(range(len(self)), key=lambda index: (digests[index], index))
        is_test = np.zeros(len(self), bool)
        is_test[order[:count]] = True
        return (
            replace(self, x=self.x[~is_test], y=self.y[~is_test]),
            replace(self, x=self.x[is_test], y=self.y[is_test]),
        )


@dataclass(frozen=True)
class Scaling:
    """``(value - mean) / scale``, agreed and the same for every participant.

    One number for all features, or one for each feature (of a table) or channel (of images). Never
    computed from a participant's data, which it would reveal, and which differs between them.
    """

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def applied(self, x: NDArray[np.float64] | Features, source: str) -> Features:
        """Return scaled values as float32, the same shape as ``x``.

        Raises
        ------
        ConfigError
            Unless there is one number, or one for each index of axis 1 of ``x``; if a scale is 0.
        """
        mean = self._fitted(self.mean, "mean", x.shape, source)
        scale = self._fitted(self.scale, "scale", x.shape, source)
        if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
            raise ConfigError(f"{source}: scale is {list(self.scale)}, expected numbers above 0")
        with np.errstate(over="ignore", invalid="ignore"):  # check_examples names what results
            return ((x - mean) / scale).astype(np.float32)

    @staticmethod
    def _fitted(
        values: Sequence[float], name: str, shape: tuple[int, ...], source: str
    ) -> NDArray[np.float64]:
        width = shape[1] if len(shape) > 1 else 1
        if len(values) not in (1, width):
            raise ConfigError(
                f"{source}: {name} has {len(values)} numbers, expected 1 or {width}, one for each "
                f"{'channel' if len(shape) > 2 else 'feature'}"
            )
        return np.array(values, np.float64).reshape(1, -1, *[1] * (len(shape) - 2))


def class_count(architecture: ModelShape) -> int:
    """Return a model's number of classes; a single logit means two."""
    return max(2, architecture.output_shape[0])


def check_examples(
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    source: str,
    scaling: Scaling | None = None,
) -> LocalData:
    """Return examples of any number type as a record.

    ``scaling`` is applied in float64, before values are rounded to float32, so that large values
    (times, identifiers) keep their differences.

    Raises
    ------
    ConfigError
        If there are no examples, or not as many labels, a label is not a whole number from 0, or a
        value is not finite; names the first.
    """
    if x.ndim and y.ndim and not (len(x) and len(y)):
        raise _not_as_many(x, y, source)
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise ConfigError(
            f"{source}: labels have shape {y.shape} and type {y.dtype}, expected one whole number "
            "for each example"
        )
    if x.dtype.kind not in "iubf" or x.ndim < 2:
        raise ConfigError(
            f"{source}: features have shape {x.shape} and type {x.dtype}, expected numbers of "
            "shape (examples, ...)"
        )
    if len(x) != len(y):
        raise _not_as_many(x, y, source)
    low = int(np.argmin(y))
    if y[low] < 0:
        raise ConfigError(f"{source}: label of example {low} is {y[low]}, expected 0 or more")
    if scaling is None:
        with np.errstate(over="ignore"):  # becomes infinite, which is named below
            values = np.ascontiguousarray(x, np.float32)
    else:
        values = np.ascontiguousarray(scaling.applied(x.astype(np.float64), source))
    finite = np.isfinite(values)
    if not finite.all():
        place = [int(axis) for axis in np.argwhere(~finite)[0]]
        raise ConfigError(
            f"{source}: example {place[0]} is {values[tuple(place)]} at position {place[1:]}, "
            "expected a finite number"
        )
    return LocalData(values, y.astype(np.int64), source)


def _not_as_many(x: NDArray[np.generic], y: NDArray[np.generic], source: str) -> ConfigError:
    return ConfigError(
        f"{source}: {len(x)} examples and {len(y)} labels, expected as many of both, not 0"
    )


def check_fits(data: LocalData, architecture: ModelShape) -> LocalData:
    """Return the data if the federation's model can train on it.

    Raises
    ------
    ConfigError
        If the shape of the examples, or a class, is not the model's, or classes were numbered by
        the participant's own folders and some are missing.
    """
    expected = architecture.input_shape
    shape = data.x.shape[1:]
    if shape != expected:
        raise ConfigError(
            f"{data.source}: examples have shape {shape}, the federation's model takes {expected}"
        )
    classes = class_count(architecture)
    if data.own_classes and len(data.own_classes) != classes:
        raise ConfigError(
            f"{data.source}: {len(data.own_classes)} sub-folders "
            f"({', '.join(data.own_classes)[:200]}), the model has {classes} classes; list all "
            "classes in their agreed order in data.classes"
        )
    highest = int(np.argmax(data.y))
    if data.y[highest] >= classes:
        raise ConfigError(
            f"{data.source}: label of example {highest} is {data.y[highest]}, the federation's "
            f"model has classes 0 to {classes - 1}"
        )
    return data
