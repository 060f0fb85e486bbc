"""Fixed point: named float tensors to one ``int32`` vector and back, exactly.

A parameter ``x`` is stored as the integer nearest to ``x * 2**s`` (ties to even), *s* from the
manifest, which may name another one for a tensor (ADR 161). Multiplying by a power of two is exact
in float64 and float64 holds every float16 and float32, so the result is the same on every machine.
Values that do not fit are refused, never clamped. Not handled: buffers
(``manifest.split_buffers``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.compiled import compiled
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.manifest import (
    Manifest,
    NamedArrays,
    TensorSpec,
    check_vector,
)
from coordinator.protocol.types import Int32Vector

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1

_LOW = float(INT32_MIN)
_HIGH = float(INT32_MAX)
# Adding and subtracting 1.5 * 2^52 rounds any double below 2^51 to the nearest integer: IEEE 754
# addition rounds ties to even, and unlike a call to rint it vectorises everywhere. All integer
# arithmetic after this rounds halves up (ADR 33).
_ROUNDER = 6755399441055744.0


@compiled
def _quantise_kernel(values: Any, scale: float, out: Any) -> int:
    bad = 0
    for i in range(values.size):
        scaled = np.float64(values[i]) * scale
        rounded = (scaled + _ROUNDER) - _ROUNDER
        fits = (rounded >= _LOW) & (rounded <= _HIGH)
        out[i] = np.int32(rounded if fits else 0.0)
        bad += not fits
    return bad


@compiled
def _dequantise_kernel(vector: Any, step: float, out: Any) -> None:
    for i in range(vector.size):
        out[i] = vector[i] * step


@compiled
def _subtract_kernel(trained: Any, base: Any, out: Any) -> int:
    bad = 0
    for i in range(trained.size):
        difference = np.int64(trained[i]) - np.int64(base[i])
        stored = np.int32(difference)
        out[i] = stored
        bad += np.int64(stored) != difference
    return bad


def quantise(named_arrays: NamedArrays, manifest: Manifest) -> Int32Vector:
    """Convert a model's float tensors to its committed vector.

    Parameters
    ----------
    named_arrays
        Exactly the tensors of the manifest, in any order; not modified.
    manifest
        Order, shapes, dtypes and scale.

    Returns
    -------
    Shape ``(d,)``, ``int32``, C-contiguous.

    Raises
    ------
    MalformedUpdateError
        ``missing-tensor``, ``extra-tensor``, ``wrong-shape``, ``wrong-dtype``, ``not-finite`` or
        ``out-of-range``; the message names the tensor, the place and the value.

    Examples
    --------
    >>> manifest = Manifest.of({"w": np.zeros(3, np.float32)}, scale_bits=1)
    >>> quantise({"w": np.array([0.75, -0.25, 1.25], np.float32)}, manifest)
    array([2, 0, 2], dtype=int32)
    """
    return quantise_into(named_arrays, manifest, np.empty(manifest.dimension, np.int32))


def quantise_into(named_arrays: NamedArrays, manifest: Manifest, out: Int32Vector) -> Int32Vector:
    """Like :func:`quantise`, into a reused buffer: allocation costs more than the arithmetic.

    ``out`` has shape ``(d,)``, dtype ``int32``, C-contiguous, and is returned; after an error its
    contents are undefined.
    """
    check_vector(out, manifest.dimension, "output buffer")
    _check_names(named_arrays, manifest)
    start = 0
    for spec in manifest.tensors:
        array = _checked_tensor(np.asarray(named_arrays[spec.name]), spec)
        stop = start + spec.size
        bits = manifest.scale_of(spec)
        if _quantise_kernel(array, float(1 << bits), out[start:stop]):
            raise _unfit_value(array, spec, bits)
        start = stop
    return out


def dequantise(vector: Int32Vector, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Convert a committed vector back to named tensors.

    Parameters
    ----------
    vector
        Shape ``(d,)``, ``int32``; not modified.
    manifest
        Order, shapes, dtypes and scale.

    Returns
    -------
    Fresh arrays in the manifest's order, shapes and dtypes: each ``v / 2**s``, rounded to nearest
    (exact in float64, and in float32 while ``|v| <= 2**24``).

    Raises
    ------
    MalformedUpdateError
        ``wrong-shape`` or ``wrong-dtype`` of the vector, or ``out-of-range`` if a value does not
        fit a float16 tensor.

    Examples
    --------
    >>> manifest = Manifest.of({"w": np.zeros((1, 2), np.float32)}, scale_bits=2)
    >>> dequantise(np.array([1, -6], np.int32), manifest)["w"]
    array([[ 0.25, -1.5 ]], dtype=float32)
    """
    check_vector(vector, manifest.dimension, "vector")
    result: dict[str, NDArray[Any]] = {}
    start = 0
    for spec in manifest.tensors:
        part = vector[start : start + spec.size]
        start += spec.size
        step = 1.0 / (1 << manifest.scale_of(spec))
        result[spec.name] = _dequantise_tensor(part, step, spec).reshape(spec.shape)
    return result


def subtract(
    trained: Int32Vector, base: Int32Vector, *, out: Int32Vector | None = None
) -> Int32Vector:
    """Return the update ``trained - base``.

    Parameters
    ----------
    trained, base
        Shape ``(d,)``, ``int32``; not modified unless one of them is ``out``.
    out
        Buffer of the same shape to write to, or ``None`` for a new one.

    Raises
    ------
    MalformedUpdateError
        ``update-overflow`` if a difference does not fit ``int32``; ``wrong-shape`` or
        ``wrong-dtype``.

    Examples
    --------
    >>> subtract(np.array([5, -7], np.int32), np.array([2, 1], np.int32))
    array([ 3, -8], dtype=int32)
    """
    result = np.empty(trained.shape, np.int32) if out is None else out
    for name, vector in (("trained", trained), ("base", base), ("out", result)):
        check_vector(vector, trained.size, name)
    if _subtract_kernel(trained, base, result):
        # If the output replaced an input, int32 wrap-around restores the input.
        before = result + base if result is trained else trained
        wide = before.astype(np.int64) - (trained - result if result is base else base)
        index = int(np.flatnonzero((wide < INT32_MIN) | (wide > INT32_MAX))[0])
        raise MalformedUpdateError(
            f"update: parameter {index} changed by {wide[index]}, "
            f"expected {INT32_MIN} to {INT32_MAX}",
            code="update-overflow",
            found=str(wide[index]),
            expected=f"{INT32_MIN}..{INT32_MAX}",
        )
    return result


def _dequantise_tensor(part: Int32Vector, step: float, spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype != "float16":
        out = np.empty(spec.size, spec.dtype)
        _dequantise_kernel(part, step, out)
        return out
    with np.errstate(over="ignore"):
        half = (part * np.float64(step)).astype(np.float16)
    if not np.isfinite(half).all():
        index = int(np.flatnonzero(~np.isfinite(half))[0])
        value = float(part[index]) * step
        raise MalformedUpdateError(
            f"{_place(spec, index)} is {value!r}, expected a value that float16 can hold",
            code="out-of-range",
            found=repr(value),
            expected="float16",
        )
    return half


def _check_names(named_arrays: NamedArrays, manifest: Manifest) -> None:
    expected = [spec.name for spec in manifest.tensors]
    for name in expected:
        if name not in named_arrays:
            raise MalformedUpdateError(
                f"tensor {name!r} is missing, expected {len(expected)} tensors",
                code="missing-tensor",
                found=f"{len(named_arrays)} tensors",
                expected=name,
            )
    if len(named_arrays) > len(expected):
        extra = next(name for name in named_arrays if name not in set(expected))
        raise MalformedUpdateError(
            f"tensor {extra!r} is not in the manifest, expected {len(expected)} tensors",
            code="extra-tensor",
            found=extra,
            expected=f"{len(expected)} tensors",
        )


def _checked_tensor(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Return the tensor flat, native, contiguous, as float32 or float64."""
    if array.dtype.name != spec.dtype:
        raise MalformedUpdateError(
            f"tensor {spec.name!r} has dtype {array.dtype.name}, expected {spec.dtype}",
            code="wrong-dtype",
            found=array.dtype.name,
            expected=spec.dtype,
        )
    if array.shape != spec.shape:
        raise MalformedUpdateError(
            f"tensor {spec.name!r} has shape {array.shape}, expected {spec.shape}",
            code="wrong-shape",
            found=str(array.shape),
            expected=str(spec.shape),
        )
    width = np.float64 if spec.dtype == "float64" else np.float32
    return np.ascontiguousarray(array, dtype=width).reshape(-1)


def _unfit_value(flat: NDArray[Any], spec: TensorSpec, scale_bits: int) -> MalformedUpdateError:
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.rint(flat.astype(np.float64) * float(1 << scale_bits))
    index = int(np.flatnonzero(~((rounded >= _LOW) & (rounded <= _HIGH)))[0])
    value = float(flat[index])
    limit = 2 ** (31 - scale_bits)
    finite = bool(np.isfinite(value))
    return MalformedUpdateError(
        f"{_place(spec, index)} is {value!r}, expected a finite number from -{limit} to {limit} "
        f"(scale 2^{scale_bits})",
        code="out-of-range" if finite else "not-finite",
        found=repr(value),
        expected=f"-{limit}..{limit}",
    )


def _place(spec: TensorSpec, flat_index: int) -> str:
    at = ", ".join(str(int(i)) for i in np.unravel_index(flat_index, spec.shape))
    return f"tensor {spec.name!r} at [{at}]"
