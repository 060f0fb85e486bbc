"""The one check that stands between callers' arrays and the kernels' bare addresses.

Who sent a bad update is not known here: screening has refused those before. What fails here is
our own mistake, or a rule that cannot be applied.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import Int32Vector, Updates


def address_of(array: NDArray[Any]) -> int:
    """Return where the array's data starts; the caller keeps the array alive meanwhile."""
    return int(array.__array_interface__["data"][0])


def check_vector(vector: Int32Vector, name: str, dimension: int | None = None) -> Int32Vector:
    """Return ``vector`` if a kernel may read it: native int32, one dimension, contiguous.

    Raises
    ------
    AggregationError
        Naming the vector, what was found and what was expected.
    """
    if not isinstance(vector, np.ndarray):
        raise AggregationError(f"{name} is a {type(vector).__name__}, expected a numpy array")
    if vector.dtype != np.dtype(np.int32):
        raise AggregationError(f"{name} has dtype {vector.dtype.str}, expected native int32")
    if vector.ndim != 1:
        raise AggregationError(f"{name} has shape {vector.shape}, expected one dimension")
    if dimension is not None and vector.shape[0] != dimension:
        raise AggregationError(f"{name} has {vector.shape[0]} values, expected {dimension}")
    if not (vector.flags.c_contiguous and vector.flags.aligned):
        raise AggregationError(f"{name} is not contiguous and aligned in memory")
    return vector


def check_updates(updates: Updates) -> list[Int32Vector]:
    """Return the updates as a list of vectors of one length, without copying any.

    Raises
    ------
    AggregationError
        If there is none, or one is not as :func:`check_vector` wants it; names its index.
    """
    if len(updates) == 0:
        raise AggregationError("no updates to aggregate, expected at least 1")
    first = check_vector(updates[0], "update 0")
    if first.shape[0] == 0:
        raise AggregationError("update 0 has 0 values, expected at least 1")
    return [check_vector(row, f"update {i}", first.shape[0]) for i, row in enumerate(updates)]


def address_table(rows: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Return the rows' addresses as the kernels take them."""
    return np.array([address_of(row) for row in rows], np.int64)
