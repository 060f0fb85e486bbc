"""Evaluate a committed model in integers, so that anyone gets the very same number.

Matrix products run in float64 BLAS on integer values. A product is exact, whatever the order of its
sums, while ``sum |w| * |x| < 2**53``: that bound is checked at run time, and where it fails the
factors are split in halves of 16 bits whose products are exact again. So the result is defined by
integer arithmetic alone, and BLAS only sets the speed.

Not handled: training, and any layer that :mod:`~coordinator.protocol.scores.architecture` has not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import (
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Relu,
)
from coordinator.protocol.types import Int32Vector

Int64Matrix = NDArray[np.int64]
_Floats = NDArray[np.float64]

_EXACT = 1 << 53
"""Float64 holds every integer up to here."""

_LARGEST_SUM = 1 << 62
"""A layer whose sums could reach this has no defined output."""

ACTIVATION_LIMIT = (1 << 31) - 1
"""Activations saturate here, on both sides."""

_BATCH_VALUES = 1 << 17
"""Values of unfolded images that are multiplied at a time: 1 MiB, to stay in cache."""

MARGIN_LIMIT = 4
"""Margins are clamped to plus and minus this many units before they are added."""


class UnboundedModelError(ArithmeticError):
    """The model's values are so large that a layer's sums leave 62 bits."""


def logits(
    architecture: Architecture, model: Int32Vector, inputs: NDArray[np.int32]
) -> Int64Matrix:
    """Return the model's outputs in fixed point with ``activation_bits`` fractional bits.

    After a linear or convolution layer, ``sum w * x + bias * 2**activation_bits`` is shifted
    right by ``scale_bits`` (halves up) and saturated to plus and minus ``2**31 - 1``.

    Parameters
    ----------
    architecture
        Its ``dimension`` is the model's length.
    model
        Shape ``(d,)`` int32 with ``scale_bits`` fractional bits. Not modified.
    inputs
        Shape ``(samples, *input_shape)`` int32 with ``activation_bits`` fractional bits. Not
        modified.

    Returns
    -------
    Shape ``(samples, classes)``, int64; equal on every machine.

    Raises
    ------
    ConfigError
        If shapes or dtypes do not fit the architecture.
    UnboundedModelError
        If a layer's sums could leave 62 bits.

    Examples
    --------
    >>> architecture = Architecture((Linear(2, 1),), (2,), scale_bits=4, activation_bits=8)
    >>> logits(architecture, np.array([16, -8, 8], np.int32), np.array([[256, 257]], np.int32))
    array([[256]])
    """
    _check(architecture, model, inputs)
    return _forward(architecture, model, inputs.astype(np.float64))


def _forward(architecture: Architecture, model: Int32Vector, values: _Floats) -> Int64Matrix:
    taken = 0
    for layer in architecture.layers:
        parameters = model[taken : taken + layer.parameters()]
        taken += layer.parameters()
        values = _apply(layer, parameters, values, architecture)
    return values.astype(np.int64)


def _check(architecture: Architecture, model: Int32Vector, inputs: NDArray[np.int32]) -> None:
    if model.dtype != np.int32 or model.shape != (architecture.dimension,):
        raise ConfigError(
            f"model is {model.dtype} of shape {model.shape}, expected int32 of shape "
            f"({architecture.dimension},)"
        )
    expected = (inputs.shape[0] if inputs.ndim else 0, *architecture.input_shape)
    if inputs.dtype != np.int32 or inputs.shape != expected:
        raise ConfigError(
            f"inputs are {inputs.dtype} of shape {inputs.shape}, expected int32 of shape "
            f"(samples, {', '.join(map(str, architecture.input_shape))})"
        )


def _apply(
    layer: Layer, parameters: Int32Vector, values: _Floats, architecture: Architecture
) -> _Floats:
    if isinstance(layer, Linear):
        affine = _Affine.of(parameters, layer.outputs, layer.inputs, architecture)
        return affine.apply(values.T, _largest(values)).T
    if isinstance(layer, Conv2d):
        return _convolution(layer, parameters, values, architecture)
    if isinstance(layer, Relu):
        return np.maximum(values, 0.0)
    if isinstance(layer, Flatten):
        return values.reshape(values.shape[0], -1)
    rows, columns = values.shape[2] // 2 * 2, values.shape[3] // 2 * 2
    top, bottom = values[:, :, 0:rows:2, :columns], values[:, :, 1:rows:2, :columns]
    tallest = np.maximum(top, bottom)
    return np.maximum(tallest[..., 0::2], tallest[..., 1::2])


def _largest(values: _Floats) -> int:
    return int(max(values.max(initial=0.0), -values.min(initial=0.0)))


def _convolution(
    layer: Conv2d, parameters: Int32Vector, values: _Floats, architecture: Architecture
) -> _Floats:
    fan_in = layer.inputs * layer.kernel**2
    affine = _Affine.of(parameters, layer.outputs, fan_in, architecture)
    largest = _largest(values)
    side = (layer.padding, layer.padding)
    padded = np.pad(values, ((0, 0), (0, 0), side, side))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (layer.kernel, layer.kernel), axis=(2, 3)
    ).transpose(0, 1, 4, 5, 2, 3)
    samples, rows, columns = windows.shape[0], *windows.shape[4:]
    out = np.empty((samples, layer.outputs, rows, columns))
    batch = max(1, _BATCH_VALUES // (rows * columns * fan_in))
    for first in range(0, samples, batch):
        unfolded = windows[first : first + batch].reshape(-1, fan_in, rows * columns)
        result = affine.apply(unfolded, largest)
        out[first : first + batch] = result.reshape(-1, layer.outputs, rows, columns)
    return out


@dataclass(frozen=True, slots=True)
class _Affine:
    """A layer's ``weight @ columns + bias``, rounded and saturated."""

    weight: Int64Matrix
    weight_floats: _Floats
    scaled_bias: Int64Matrix
    scale_bits: int
    row_bound: int
    bias_bound: int

    @classmethod
    def of(
        cls, parameters: Int32Vector, outputs: int, inputs: int, architecture: Architecture
    ) -> "_Affine":
        """Read weight ``(outputs, inputs)`` and, if anything is left, the bias ``(outputs,)``."""
        weight = parameters[: outputs * inputs].reshape(outputs, inputs).astype(np.int64)
        bias = np.zeros((outputs, 1), np.int64)
        if len(parameters) > weight.size:
            bias[:, 0] = parameters[weight.size :]
        bias <<= architecture.activation_bits
        bound = int(np.abs(weight).sum(axis=1).max())
        largest_bias = int(np.abs(bias).max())
        return cls(
            weight, weight.astype(np.float64), bias, architecture.scale_bits, bound, largest_bias
        )

    def apply(self, columns: _Floats, largest: int) -> _Floats:
        """Map ``(..., inputs, positions)`` to ``(..., outputs, positions)``.

        ``columns`` hold integers of at most ``largest`` in size.
        """
        half = 1 << (self.scale_bits - 1)
        bound = self.row_bound * largest + self.bias_bound + half
        if bound >= _LARGEST_SUM:
            raise UnboundedModelError(
                f"a layer's sums could reach {bound}, expected < {_LARGEST_SUM}"
            )
        if bound < _EXACT:
            sums = self.weight_floats @ columns
            sums += self.scaled_bias + half
            sums *= 1.0 / (1 << self.scale_bits)
            rounded = np.floor(sums, out=sums)
        else:
            exact = _split_product(self.weight, columns.astype(np.int64)) + self.scaled_bias
            rounded = ((exact + half) >> self.scale_bits).astype(np.float64)
        return np.clip(rounded, -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=rounded)


def _split_product(weight: Int64Matrix, columns: Int64Matrix) -> Int64Matrix:
    """Return ``weight @ columns`` of int32 values in int64, exact where the result fits.

    Halves are below ``2**16`` in size, so ``2**20`` of their products add up exactly in float64.
    The shifted parts may wrap around; their sum does not, and arithmetic modulo ``2**64`` finds
    it.
    """
    total = np.zeros((*columns.shape[:-2], weight.shape[0], columns.shape[-1]), np.int64)
    for first in range(0, weight.shape[1], 1 << 20):
        left = weight[:, first : first + (1 << 20)]
        right = columns[..., first : first + (1 << 20), :]
        for left_shift, left_half in _halves(left):
            for right_shift, right_half in _halves(right):
                part = (left_half @ right_half).astype(np.int64)
                total += part << (left_shift + right_shift)
    return total


def _halves(values: Int64Matrix) -> list[tuple[int, _Floats]]:
    return [
        (16, (values >> 16).astype(np.float64)),
        (0, (values & 0xFFFF).astype(np.float64)),
    ]


def margins(
    architecture: Architecture,
    model: Int32Vector,
    inputs: NDArray[np.int32],
    labels: NDArray[np.integer],
) -> NDArray[np.int64]:
    """Return each sample's true logit minus the largest other one, shape ``(samples,)``.

    Parameters and errors as in :func:`logits`; ``labels`` are class numbers, shape ``(samples,)``.
    """
    outputs = class_logits(architecture, model, inputs)
    samples, classes = outputs.shape
    if labels.shape != (samples,):
        raise ConfigError(f"labels have shape {labels.shape}, expected ({samples},)")
    if samples and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ConfigError(
            f"labels span {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
    everyone = np.arange(samples)
    true: NDArray[np.int64] = outputs[everyone, labels]
    outputs[everyone, labels] = np.iinfo(np.int64).min
    others: NDArray[np.int64] = outputs.max(axis=1)
    return true - others


def class_logits(
    architecture: Architecture, model: Int32Vector, inputs: NDArray[np.int32]
) -> Int64Matrix:
    """Return one output per class, shape ``(samples, classes)``; a single logit is class 1's.

    Parameters and errors as in :func:`logits`.
    """
    outputs = logits(architecture, model, inputs)
    if outputs.shape[1] > 1:
        return outputs
    return np.hstack([np.zeros_like(outputs), outputs])


def utility(
    architecture: Architecture,
    model: Int32Vector,
    inputs: NDArray[np.int32],
    labels: NDArray[np.integer],
) -> int:
    """Return how well a model separates the labels: the sum of its clamped margins.

    A margin counts from ``-MARGIN_LIMIT`` to ``MARGIN_LIMIT`` units (times
    ``2**activation_bits``): unlike a count of right answers it moves with every small
    improvement, and unlike a likelihood it is an integer. A model without defined outputs has the
    least utility.

    Examples
    --------
    >>> architecture = Architecture((Linear(1, 2, bias=False),), (1,), 4, 8)
    >>> model = np.array([0, 16], np.int32)
    >>> utility(architecture, model, np.array([[-128], [512]], np.int32), np.array([0, 1]))
    640
    """
    limit: int = MARGIN_LIMIT << architecture.activation_bits
    try:
        per_example = margins(architecture, model, inputs, labels)
    except UnboundedModelError:
        return -limit * len(inputs)
    clamped: NDArray[np.int64] = np.clip(per_example, -limit, limit)
    return int(clamped.sum())


def correct(
    architecture: Architecture,
    model: Int32Vector,
    inputs: NDArray[np.int32],
    labels: NDArray[np.integer],
) -> int:
    """Return how many samples get their label; of equal logits the lowest class wins.

    A model without defined outputs gets none right.
    """
    try:
        outputs = class_logits(architecture, model, inputs)
    except UnboundedModelError:
        return 0
    return int(np.count_nonzero(outputs.argmax(axis=1) == labels))
