"""What a model computes, as data: enough to evaluate it in integers, nothing to execute.

Not handled: normalisation layers, strides and dilations, recurrent layers. A federation that scores
with such a model uses the ``examples`` score.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, Protocol

from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Linear:
    """``y = W x + b``; weight ``(outputs, inputs)``, then bias ``(outputs,)`` if there is one."""

    inputs: int
    outputs: int
    bias: bool = True

    def parameters(self) -> int:
        """Return how many values of the vector the layer takes."""
        return self.outputs * (self.inputs + self.bias)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one sample after the layer."""
        _expect(shape == (self.inputs,), "linear", shape, f"({self.inputs},)")
        return (self.outputs,)


@dataclass(frozen=True, slots=True)
class Conv2d:
    """Cross-correlation with stride 1; weight ``(outputs, inputs, kernel, kernel)``, then bias."""

    inputs: int
    outputs: int
    kernel: int
    padding: int = 0
    bias: bool = True

    def parameters(self) -> int:
        """Return how many values of the vector the layer takes."""
        return self.outputs * (self.inputs * self.kernel**2 + self.bias)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one sample after the layer."""
        fits = len(shape) == 3 and shape[0] == self.inputs
        sides = tuple(side + 2 * self.padding - self.kernel + 1 for side in shape[1:])
        _expect(fits and min(sides) > 0, "conv2d", shape, f"({self.inputs}, rows, columns)")
        return (self.outputs, *sides)


@dataclass(frozen=True, slots=True)
class Relu:
    """``max(x, 0)``."""

    def parameters(self) -> int:
        """Return 0."""
        return 0

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        return shape


@dataclass(frozen=True, slots=True)
class MaxPool2:
    """Largest of each 2 x 2 square; an odd last row or column is dropped."""

    def parameters(self) -> int:
        """Return 0."""
        return 0

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one sample after the layer."""
        fits = len(shape) == 3 and min(shape[1:]) >= 2
        _expect(fits, "maxpool2", shape, "(channels, rows >= 2, columns >= 2)")
        return (shape[0], shape[1] // 2, shape[2] // 2)


@dataclass(frozen=True, slots=True)
class Flatten:
    """Channels, rows, columns to one axis, in that order."""

    def parameters(self) -> int:
        """Return 0."""
        return 0

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one sample after the layer."""
        size = 1
        for side in shape:
            size *= side
        return (size,)


class ModelShape(Protocol):
    """What examples have to fit: an :class:`Architecture`, or a :class:`ModuleShape`."""

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample."""
        ...

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample's logits: one axis."""
        ...


@dataclass(frozen=True, slots=True)
class ModuleShape:
    """The shapes of a model that is not described by layers."""

    input_shape: Shape
    output_shape: Shape


Layer = Linear | Conv2d | Relu | MaxPool2 | Flatten

_KINDS: dict[str, type[Layer]] = {
    "linear": Linear,
    "conv2d": Conv2d,
    "relu": Relu,
    "maxpool2": MaxPool2,
    "flatten": Flatten,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def _expect(holds: bool, layer: str, shape: Shape, expected: str) -> None:
    if not holds:
        raise ConfigError(f"layer {layer} receives samples of shape {shape}, expected {expected}")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Layers in order; they take their parameters from the model's vector one after another.

    Parameters
    ----------
    layers
        At least one; the last gives the logits, one axis. A single logit means two classes with
        logits ``(0, z)``.
    input_shape
        Shape of one sample: ``(features,)`` or ``(channels, rows, columns)``.
    scale_bits
        Fractional bits of the parameters, the manifest's *s*.
    activation_bits
        Fractional bits of inputs, activations and logits.

    Raises
    ------
    ConfigError
        If the layers do not fit each other, or the bits are out of range.

    Examples
    --------
    >>> model = Architecture((Linear(64, 32), Relu(), Linear(32, 10)), (64,))
    >>> model.dimension
    2410
    >>> Architecture.from_json(model.to_json()) == model
    True
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    scale_bits: int = 20
    activation_bits: int = 12

    def __post_init__(self) -> None:
        if not self.layers:
            raise ConfigError("architecture has no layers, expected at least 1")
        if not 1 <= self.scale_bits <= 30:
            raise ConfigError(f"scale_bits is {self.scale_bits}, expected 1 to 30")
        if not 8 <= self.activation_bits <= 12:
            raise ConfigError(f"activation_bits is {self.activation_bits}, expected 8 to 12")
        if len(self.output_shape) != 1:
            raise ConfigError(
                f"architecture ends in shape {self.output_shape}, expected one axis of logits"
            )

    @property
    def dimension(self) -> int:
        """Number of parameters *d*."""
        return sum(layer.parameters() for layer in self.layers)

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample's logits: one axis."""
        shape = self.input_shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces."""
        document = {
            "activation_bits": self.activation_bits,
            "input_shape": list(self.input_shape),
            "layers": [_layer_to_json(layer) for layer in self.layers],
            "scale_bits": self.scale_bits,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ConfigError
            If the text is not such a document; names the key or layer.
        """
        try:
            document = parse_json(text.encode(), "architecture")
        except (VerificationError, UnicodeEncodeError) as error:
            raise ConfigError(str(error)) from error
        names = {"activation_bits", "input_shape", "layers", "scale_bits"}
        if not isinstance(document, dict) or set(document) != names:
            found = sorted(document) if isinstance(document, dict) else type(document).__name__
            raise ConfigError(f"architecture has keys {found}, expected {sorted(names)}")
        if not (isinstance(document["layers"], list) and isinstance(document["input_shape"], list)):
            raise ConfigError("architecture's layers and input_shape must be lists")
        return cls(
            tuple(_layer_from_json(layer) for layer in document["layers"]),
            tuple(_integer(side, "input_shape") for side in document["input_shape"]),
            _integer(document["scale_bits"], "scale_bits", 1),
            _integer(document["activation_bits"], "activation_bits", 1),
        )


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return {"kind": _NAMES[type(layer)], **values}


def _layer_from_json(document: Any) -> Layer:
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in _KINDS:
        raise ConfigError(f"layer {document!r} is unknown, expected one of {sorted(_KINDS)}")
    layer_type = _KINDS[kind]
    expected = {field.name for field in fields(layer_type)} | {"kind"}
    if set(document) != expected:
        raise ConfigError(f"layer {kind} has keys {sorted(document)}, expected {sorted(expected)}")
    values: dict[str, Any] = {}
    for name in expected - {"kind"}:
        if name == "bias":
            values[name] = _boolean(document[name], f"{kind} {name}")
        else:
            values[name] = _integer(document[name], f"{kind} {name}", 0 if name == "padding" else 1)
    return layer_type(**values)


def _integer(value: Any, name: str, least: int = 1) -> int:
    if type(value) is not int or not least <= value < 1 << 31:
        raise ConfigError(f"architecture's {name} is {value!r}, expected an integer >= {least}")
    return value


def _boolean(value: Any, name: str) -> bool:
    if type(value) is not bool:
        raise ConfigError(f"architecture's {name} is {value!r}, expected true or false")
    return value
