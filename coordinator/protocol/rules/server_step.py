"""What the server does with an aggregate: learning rate, momentum, and the new model.

References
----------
Hsu et al., 2019, arXiv:1909.06335 (FedAvgM). Here in fixed point with 16 fractional bits, halves
rounded up; the velocity is committed to by replaying the rounds, not by a root of its own.
"""

import operator

import numpy as np

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.parallel import over_spans
from coordinator.protocol.rules import kernels
from coordinator.protocol.rules.rows import address_of, check_vector
from coordinator.protocol.types import Int32Vector

ONE_Q16 = 1 << 16
"""1.0 in fixed point with 16 fractional bits."""


def server_step(
    delta: Int32Vector,
    velocity: Int32Vector | None,
    lr_q16: int,
    momentum_q16: int,
    *,
    threads: int | None = None,
) -> tuple[Int32Vector, Int32Vector | None]:
    """Turn the aggregate of a round into the step to take, and the next velocity.

    ``velocity' = ((momentum * velocity + 2**15) >> 16) + delta`` and
    ``step = (lr * velocity' + 2**15) >> 16``.

    Parameters
    ----------
    delta
        Shape ``(d,)`` int32, the aggregate. Not modified; returned as it is when the learning rate
        is 1 and there is no momentum.
    velocity
        Shape ``(d,)`` int32 from the round before, or ``None`` for zeros (the first round).
    lr_q16, momentum_q16
        Fixed point with 16 fractional bits, ``0`` to ``2**32 - 1``.

    Returns
    -------
    The step, and the velocity to hand to the next round: ``None`` without momentum, because then
    there is nothing to remember.

    Raises
    ------
    AggregationError
        If a vector or factor is not as described, or a value leaves the int32 range; names the
        first such index.

    Examples
    --------
    >>> delta = np.array([3, -3], np.int32)
    >>> step, velocity = server_step(delta, None, ONE_Q16 // 2, ONE_Q16 // 2)
    >>> step, velocity
    (array([ 2, -1], dtype=int32), array([ 3, -3], dtype=int32))
    >>> server_step(delta, velocity, ONE_Q16 // 2, ONE_Q16 // 2)
    (array([ 3, -2], dtype=int32), array([ 5, -4], dtype=int32))
    """
    check_vector(delta, "aggregate")
    _check_factor(lr_q16, "server learning rate")
    _check_factor(momentum_q16, "server momentum")
    momentum = operator.index(momentum_q16) != 0
    current = delta
    if momentum and velocity is not None:
        check_vector(velocity, "velocity", delta.shape[0])
        decayed = _scaled(velocity, momentum_q16, "momentum term", threads)
        current = _added(decayed, delta, "velocity", threads)
    step = current if lr_q16 == ONE_Q16 else _scaled(current, lr_q16, "server step", threads)
    return step, current if momentum else None


def apply_step(model: Int32Vector, step: Int32Vector, *, threads: int | None = None) -> Int32Vector:
    """Return ``model + step``, shape ``(d,)`` int32; the inputs are not modified.

    Raises
    ------
    AggregationError
        If a vector is not int32 of one length, or a sum leaves the int32 range; names the first
        such index.

    Examples
    --------
    >>> apply_step(np.array([1, 2], np.int32), np.array([10, -20], np.int32))
    array([ 11, -18], dtype=int32)
    """
    check_vector(model, "model")
    check_vector(step, "server step", model.shape[0])
    return _added(model, step, "new model", threads)


def _check_factor(value: int, name: str) -> None:
    if not 0 <= operator.index(value) < 1 << 32:
        raise AggregationError(f"{name} is {value}, expected 0 to 2**32 - 1 (16 fractional bits)")


def _scaled(vector: Int32Vector, factor: int, name: str, threads: int | None) -> Int32Vector:
    out = np.empty_like(vector)
    source, target = address_of(vector), address_of(out)
    overflow = over_spans(
        lambda start, stop: kernels.scale_span(source, factor, target, start, stop),
        vector.shape[0],
        threads=threads,
    )
    if any(overflow):
        exact = (factor * vector.astype(np.int64) + (1 << 15)) >> 16
        raise _overflow(exact, out, name)
    return out


def _added(left: Int32Vector, right: Int32Vector, name: str, threads: int | None) -> Int32Vector:
    out = np.empty_like(left)
    first, second, target = address_of(left), address_of(right), address_of(out)
    overflow = over_spans(
        lambda start, stop: kernels.add_span(first, second, target, start, stop),
        left.shape[0],
        threads=threads,
    )
    if any(overflow):
        raise _overflow(left.astype(np.int64) + right, out, name)
    return out


def _overflow(
    exact: np.ndarray[tuple[int, ...], np.dtype[np.int64]], wrapped: Int32Vector, name: str
) -> AggregationError:
    index = int(np.flatnonzero(exact != wrapped)[0])
    return AggregationError(
        f"{name} overflows int32 at index {index}: {int(exact[index])}, "
        f"expected {-(1 << 31)} to {(1 << 31) - 1}"
    )
