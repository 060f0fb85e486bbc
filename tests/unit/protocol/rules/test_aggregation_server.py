"""Server learning rate, momentum and the new model, by hand and at the edges."""

import numpy as np
import pytest

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.rules import ONE_Q16, apply_step, server_step

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def vector(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_plain_fedavg_takes_the_aggregate_as_it_is():
    delta = vector(3, -4, HIGHEST, LOWEST)
    step, velocity = server_step(delta, None, ONE_Q16, 0)
    assert step.tolist() == delta.tolist()
    assert velocity is None


def test_velocity_is_forgotten_without_momentum():
    step, velocity = server_step(vector(3), vector(1000), ONE_Q16, 0)
    assert (step.tolist(), velocity) == ([3], None)


@pytest.mark.parametrize(
    ("lr_q16", "expected"),
    [
        (ONE_Q16 // 2, [2, -1, 1, 0, 0]),  # 1.5, -1.5, 0.5, -0.5, 0
        (2 * ONE_Q16, [6, -6, 2, -2, 0]),
        (0, [0, 0, 0, 0, 0]),
        (ONE_Q16 // 3, [1, -1, 0, 0, 0]),  # 0.99998
    ],
)
def test_learning_rate_rounds_halves_up(lr_q16, expected):
    step, _ = server_step(vector(3, -3, 1, -1, 0), None, lr_q16, 0)
    assert step.tolist() == expected


def test_momentum_over_three_rounds_by_hand():
    momentum = 9 * ONE_Q16 // 10  # 58982 / 65536 = 0.899994
    step, velocity = server_step(vector(100, -100), None, ONE_Q16, momentum)
    assert (step.tolist(), velocity.tolist()) == ([100, -100], [100, -100])
    step, velocity = server_step(vector(10, -10), velocity, ONE_Q16, momentum)
    assert (step.tolist(), velocity.tolist()) == ([100, -100], [100, -100])  # 89.9994 -> 90
    step, velocity = server_step(vector(1, -1), velocity, ONE_Q16 // 2, momentum)
    assert (step.tolist(), velocity.tolist()) == ([46, -45], [91, -91])  # 45.5, -45.5


def test_inputs_are_not_modified():
    delta, velocity, model = vector(5), vector(7), vector(11)
    server_step(delta, velocity, ONE_Q16 // 2, ONE_Q16 // 2)
    new_model = apply_step(model, delta)
    assert (delta.tolist(), velocity.tolist(), model.tolist()) == ([5], [7], [11])
    assert new_model.tolist() == [16]


def test_largest_factor_does_not_wrap_in_64_bits():
    with pytest.raises(AggregationError, match=f"index 0: {((2**32 - 1) * LOWEST + 2**15) >> 16},"):
        server_step(vector(LOWEST), None, (1 << 32) - 1, 0)
    step, _ = server_step(vector(-32768), None, (1 << 32) - 1, 0)
    assert step.tolist() == [((2**32 - 1) * -32768 + 2**15) >> 16] == [LOWEST + 1]


def test_edges_of_int32_are_reached_and_not_crossed():
    assert apply_step(vector(HIGHEST - 1, LOWEST + 1), vector(1, -1)).tolist() == [HIGHEST, LOWEST]
    with pytest.raises(AggregationError, match=rf"new model .* at index 1: {LOWEST - 1}, expected"):
        apply_step(vector(HIGHEST - 1, LOWEST), vector(1, -1))


def test_overflow_names_the_first_index_whatever_the_threads():
    model = np.zeros(300_000, np.int32)
    model[[250_001, 123_456]] = HIGHEST
    for threads in (1, 2, 5):
        with pytest.raises(AggregationError, match=r"new model overflows int32 at index 123456:"):
            apply_step(model, np.ones(300_000, np.int32), threads=threads)


def test_overflow_of_each_term_is_named():
    with pytest.raises(
        AggregationError, match="server step overflows int32 at index 1: 4294967294"
    ):
        server_step(vector(0, HIGHEST), None, 2 * ONE_Q16, 0)
    with pytest.raises(AggregationError, match="velocity overflows int32 at index 0: 2147483648"):
        server_step(vector(1), vector(HIGHEST), ONE_Q16, ONE_Q16)
    with pytest.raises(AggregationError, match="momentum term overflows int32 at index 0"):
        server_step(vector(1), vector(HIGHEST), ONE_Q16, 2 * ONE_Q16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: server_step(np.zeros(2), None, 1, 0), "aggregate has dtype <f8"),
        (lambda: server_step(vector(1), vector(1, 2), 1, 1), "velocity has 2 values, expected 1"),
        (lambda: server_step(vector(1), None, 1 << 32, 0), "server learning rate is 4294967296"),
        (lambda: server_step(vector(1), None, 1, -1), "server momentum is -1"),
        (lambda: apply_step(vector(1, 2), vector(1)), "server step has 1 values, expected 2"),
        (lambda: apply_step(vector(1, 2)[::2], vector(1)), None),
        (lambda: apply_step(vector(1, 2, 3)[::2], vector(1, 1)), "model is not contiguous"),
    ],
)
def test_wrong_inputs_are_named(call, message):
    if message is None:
        assert call().tolist() == [2]  # one value is contiguous whatever its stride
        return
    with pytest.raises(AggregationError, match=message):
        call()
