"""The manifest: which float tensors, in which order, make up the committed ``int32`` vector.

Its canonical JSON is hashed into every parameter root, so two models with the same values but
different layout or scale never share a root (ADR 30). Not handled: the values (``fixed_point``) and
non-float buffers, which are sent outside the vector (:func:`split_buffers`).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import ConfigError, MalformedUpdateError, VerificationError

MANIFEST_VERSION = 1
SCALED_VERSION = 2
"""Of a manifest in which a tensor has a scale of its own (ADR 161)."""
FLOAT_DTYPES = ("float16", "float32", "float64")
MAX_SCALE_BITS = 30
MAX_CHUNK_VALUES = 1 << 20
MAX_TENSORS = 1 << 16
MAX_NAME_CHARS = 512
MAX_DIMENSION = 1 << 48
MAX_JSON_BYTES = 1 << 26

_BUFFER_KINDS = "biu"
_TENSOR_KEYS = {"dtype", "name", "shape"}
_MANIFEST_KEYS = {"chunk_values", "scale_bits", "tensors", "version"}

NamedArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and float dtype of one tensor.

    ``scale_bits`` is a scale of its own, for values of another size than most parameters have;
    ``None`` is the manifest's.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale_bits: int | None = None

    def __post_init__(self) -> None:
        if type(self.name) is not str or not 1 <= len(self.name) <= MAX_NAME_CHARS:
            raise ConfigError(
                f"manifest: tensor name {str(self.name)[:40]!r}, expected a string of 1 to "
                f"{MAX_NAME_CHARS} characters"
            )
        if type(self.shape) is not tuple or any(type(n) is not int or n < 0 for n in self.shape):
            raise ConfigError(
                f"manifest: tensor {self.name!r} has shape {self.shape!r}, "
                "expected a tuple of integers >= 0"
            )
        if self.dtype not in FLOAT_DTYPES:
            raise ConfigError(
                f"manifest: tensor {self.name!r} has dtype {self.dtype!r}, "
                f"expected one of {', '.join(FLOAT_DTYPES)}"
            )
        if self.scale_bits is not None:
            _check_int(f"scale_bits of tensor {self.name!r}", self.scale_bits, 0, MAX_SCALE_BITS)

    @property
    def size(self) -> int:
        """Number of parameters in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The mapping between named float tensors and one ``int32`` vector.

    Parameters
    ----------
    tensors
        In the order in which they are flattened and concatenated; names are unique.
    scale_bits
        *s*: a parameter is stored as the integer nearest to ``value * 2**s``; 0 to 30.
    chunk_values
        Values per leaf of the parameter tree.
    version
        Version of the format: 2 if a tensor has a scale of its own, else 1.

    Raises
    ------
    ConfigError
        If a field is out of its range; the message names it.
    """

    tensors: tuple[TensorSpec, ...]
    scale_bits: int = 20
    chunk_values: int = 256
    version: int = MANIFEST_VERSION

    def __post_init__(self) -> None:
        _check_int("scale_bits", self.scale_bits, 0, MAX_SCALE_BITS)
        _check_int("chunk_values", self.chunk_values, 1, MAX_CHUNK_VALUES)
        if type(self.tensors) is not tuple:
            raise ConfigError(
                f"manifest: tensors is a {type(self.tensors).__name__}, expected a tuple"
            )
        _check_int("number of tensors", len(self.tensors), 1, MAX_TENSORS)
        seen: set[str] = set()
        for spec in self.tensors:
            if spec.name in seen:
                raise ConfigError(f"manifest: tensor {spec.name!r} is listed twice")
            seen.add(spec.name)
            if spec.scale_bits == self.scale_bits:
                raise ConfigError(
                    f"manifest: tensor {spec.name!r} has scale_bits {spec.scale_bits}, expected "
                    "none where it is the manifest's"
                )
        version = _version_of(self.tensors)
        _check_int("version", self.version, version, version)
        _check_int("dimension", self.dimension, 1, MAX_DIMENSION)

    @property
    def dimension(self) -> int:
        """Number of parameters *d*."""
        return sum(spec.size for spec in self.tensors)

    def scale_of(self, spec: TensorSpec) -> int:
        """Return how many fractional bits the values of a tensor have."""
        return self.scale_bits if spec.scale_bits is None else spec.scale_bits

    @property
    def scales(self) -> dict[str, int]:
        """The scales of the tensors that have one of their own, by name."""
        return {s.name: s.scale_bits for s in self.tensors if s.scale_bits is not None}

    def to_json(self) -> bytes:
        """Return the canonical JSON that :meth:`digest` hashes.

        Examples
        --------
        >>> Manifest((TensorSpec("w", (2, 3), "float32"),)).to_json().decode()
        '{"chunk_values":256,"scale_bits":20,"tensors":[{"dtype":"float32","name":"w","shape":[2,3]}],"version":1}'
        """
        tensors = [
            {
                "name": spec.name,
                "shape": list(spec.shape),
                "dtype": spec.dtype,
                **({} if spec.scale_bits is None else {"scale_bits": spec.scale_bits}),
            }
            for spec in self.tensors
        ]
        return canonical_json(
            {
                "version": self.version,
                "scale_bits": self.scale_bits,
                "chunk_values": self.chunk_values,
                "tensors": tensors,
            }
        )

    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical JSON, 32 bytes."""
        return hashlib.sha256(self.to_json()).digest()

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return the manifest in JSON; only the canonical bytes are accepted.

        Raises
        ------
        VerificationError
            If the bytes are not the canonical JSON of a valid manifest.
        """
        fields = _parse_object(data)
        try:
            manifest = _from_fields(fields)
        except ConfigError as error:
            raise VerificationError(str(error)) from error
        if manifest.to_json() != data:
            raise VerificationError(
                "manifest: the JSON is valid but not canonical (expected sorted keys, no spaces, "
                "ASCII, no repeated keys)"
            )
        return manifest

    @classmethod
    def of(
        cls,
        named_arrays: NamedArrays,
        *,
        scale_bits: int = 20,
        chunk_values: int = 256,
        scales: Mapping[str, int] = MappingProxyType({}),
    ) -> "Manifest":
        """Return the manifest of a model's float tensors, in their order, without buffers.

        Parameters
        ----------
        scales
            Scales of tensors of their own, by name; what is no tensor of the model is left out.

        Raises
        ------
        ConfigError
            If a tensor is neither float16/32/64 nor a boolean or integer buffer, or if there is no
            float tensor; if a scale is out of its range.
        """
        floats, _ = split_buffers(named_arrays)
        own = {name: bits for name, bits in scales.items() if bits != scale_bits}
        specs = tuple(
            TensorSpec(name, tuple(int(n) for n in array.shape), array.dtype.name, own.get(name))
            for name, array in floats.items()
        )
        return cls(
            specs, scale_bits=scale_bits, chunk_values=chunk_values, version=_version_of(specs)
        )


def split_buffers(
    named_arrays: NamedArrays,
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Split a model into its float tensors and its boolean or integer buffers, keeping the order.

    Returns
    -------
    ``(floats, buffers)``: the first form the committed vector, the second are sent beside it and
    are not averaged. The arrays are not copied.

    Raises
    ------
    ConfigError
        If a tensor has any other dtype (complex, long double, object).

    Examples
    --------
    >>> import numpy as np
    >>> model = {"w": np.zeros(2, np.float32), "steps": np.array(7)}
    >>> [list(part) for part in split_buffers(model)]
    [['w'], ['steps']]
    """
    floats: dict[str, NDArray[Any]] = {}
    buffers: dict[str, NDArray[Any]] = {}
    for name, array in named_arrays.items():
        if array.dtype.name in FLOAT_DTYPES:
            floats[name] = array
        elif array.dtype.kind in _BUFFER_KINDS:
            buffers[name] = array
        else:
            raise ConfigError(
                f"manifest: tensor {name!r} has dtype {array.dtype.name}, expected "
                f"{', '.join(FLOAT_DTYPES)}, or a boolean or integer buffer"
            )
    return floats, buffers


def _version_of(specs: Sequence[TensorSpec]) -> int:
    scaled = any(spec.scale_bits is not None for spec in specs)
    return SCALED_VERSION if scaled else MANIFEST_VERSION


def _check_int(field: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        expected = str(low) if low == high else f"an integer from {low} to {high}"
        raise ConfigError(f"manifest: {field} is {value!r}, expected {expected}")


def _parse_object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_JSON_BYTES:
        raise VerificationError(
            f"manifest: {len(data)} bytes of JSON, expected at most {MAX_JSON_BYTES}"
        )
    return _object_with_keys(parse_json(data, "manifest"), _MANIFEST_KEYS, "manifest")


def _object_with_keys(value: object, keys: set[str], place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VerificationError(f"{place}: found a {type(value).__name__}, expected an object")
    if value.keys() != keys:
        raise VerificationError(
            f"{place}: found the keys {', '.join(sorted(value))}, "
            f"expected {', '.join(sorted(keys))}"
        )
    return value


def _from_fields(fields: dict[str, Any]) -> Manifest:
    if not isinstance(fields["tensors"], list):
        raise VerificationError(
            f"manifest: tensors is a {type(fields['tensors']).__name__}, expected a list"
        )
    specs = []
    for index, entry in enumerate(fields["tensors"]):
        scaled = isinstance(entry, dict) and "scale_bits" in entry
        keys = {*_TENSOR_KEYS, "scale_bits"} if scaled else _TENSOR_KEYS
        tensor = _object_with_keys(entry, keys, f"manifest: tensors[{index}]")
        shape = tensor["shape"]
        shape = tuple(shape) if isinstance(shape, list) else shape
        bits = tensor.get("scale_bits")
        if scaled and bits is None:  # JSON's null
            raise VerificationError(f"manifest: tensors[{index}]: scale_bits is null")
        specs.append(TensorSpec(tensor["name"], shape, tensor["dtype"], bits))
    return Manifest(tuple(specs), fields["scale_bits"], fields["chunk_values"], fields["version"])


def check_vector(vector: NDArray[Any], dimension: int, name: str) -> None:
    """Check that a vector has shape ``(dimension,)``, is ``int32`` and C-contiguous.

    Raises
    ------
    MalformedUpdateError
        ``wrong-dtype`` or ``wrong-shape``, naming the vector by ``name``.
    """
    if vector.dtype != np.int32:
        raise MalformedUpdateError(
            f"{name} has dtype {vector.dtype}, expected int32",
            code="wrong-dtype",
            found=str(vector.dtype),
            expected="int32",
        )
    if vector.shape != (dimension,) or not vector.flags.c_contiguous:
        raise MalformedUpdateError(
            f"{name} has shape {vector.shape}, strides {vector.strides}, "
            f"expected ({dimension},), contiguous",
            code="wrong-shape",
            found=str(vector.shape),
            expected=f"({dimension},)",
        )
