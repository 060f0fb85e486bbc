"""Aggregation against a slow oracle in Python's own big integers, and its invariances."""

import itertools

import numpy as np
import pytest
from histories import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.rules import (
    RULES,
    WeightedSum,
    aggregate,
    apply_step,
    median,
    server_step,
    trimmed_mean,
    weighted_mean,
)
from coordinator.protocol.types import WEIGHT_TOTAL

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1
EDGES = [LOWEST, LOWEST + 1, -(1 << 24), -2, -1, 0, 1, 2, (1 << 24) + 1, HIGHEST - 1, HIGHEST]
int32_values = st.integers(LOWEST, HIGHEST) | st.sampled_from(EDGES) | st.integers(-3, 3)


@st.composite
def cohorts(draw):
    n = draw(st.integers(1, 17))
    d = draw(st.integers(1, 9))
    row = st.lists(int32_values, min_size=d, max_size=d)
    rows = draw(st.lists(row, min_size=n, max_size=n))
    cuts = draw(st.lists(st.integers(0, WEIGHT_TOTAL), min_size=n - 1, max_size=n - 1))
    edges = [0, *sorted(cuts), WEIGHT_TOTAL]
    weights = [high - low for low, high in itertools.pairwise(edges)]
    return rows, weights, draw(st.integers(0, (n - 1) // 2)), draw(st.permutations(range(n)))


COORDINATEWISE = ("fedavg", "median", "trimmed_mean")
"""Rules that the oracle knows, and that a translation commutes with."""


def applicable(n: int, f: int) -> list[str]:
    """Return the rules of the package that ``n`` updates are enough for."""
    return [name for name in RULES.names() if n >= RULES.get(name).fewest(f)]


def half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def oracle(kind: str, rows: list[list[int]], weights: list[int], f: int) -> list[int]:
    columns = list(zip(*rows, strict=True))
    if kind == "fedavg":
        sums = [sum(w * u for w, u in zip(weights, c, strict=True)) for c in columns]
        return [half_up(total, WEIGHT_TOTAL) for total in sums]
    trim = f if kind == "trimmed_mean" else (len(rows) - 1) // 2
    kept = [sorted(c)[trim : len(c) - trim] for c in columns]
    return [half_up(sum(values), len(values)) for values in kept]


@given(cohorts())
@settings(max_examples=examples(300), deadline=None)
def test_every_rule_equals_the_big_integer_oracle(cohort):
    rows, weights, f, _ = cohort
    for kind in COORDINATEWISE:
        result = aggregate(kind, np.array(rows, np.int32), weights, num_byzantine=f)
        assert result.tolist() == oracle(kind, rows, weights, f), kind


@given(cohorts())
@settings(max_examples=examples(100), deadline=None)
def test_order_of_arrival_and_storage_do_not_matter(cohort):
    rows, weights, f, order = cohort
    together = np.array(rows, np.int32)
    apart = [together[i].copy() for i in order]
    shuffled = [weights[i] for i in order]
    for kind in applicable(len(rows), f):
        first = aggregate(kind, together, weights, num_byzantine=f)
        assert first.tobytes() == aggregate(kind, apart, shuffled, num_byzantine=f).tobytes()
    running = WeightedSum(together.shape[1])
    for row, weight in zip(apart, shuffled, strict=True):
        running.add(row, weight)
    assert running.result().tobytes() == weighted_mean(together, weights).tobytes()


@given(cohorts(), st.integers(-(1 << 20), 1 << 20))
@settings(max_examples=examples(100), deadline=None)
def test_translation(cohort, shift):
    rows, weights, f, _ = cohort
    updates = np.clip(np.array(rows, np.int64), -(1 << 30), 1 << 30).astype(np.int32)
    moved = updates + np.int32(shift)
    for kind in COORDINATEWISE:
        before = aggregate(kind, updates, weights, num_byzantine=f)
        assert np.array_equal(
            aggregate(kind, moved, weights, num_byzantine=f), before + np.int32(shift)
        ), kind


@given(cohorts(), st.data())
@settings(max_examples=examples(100), deadline=None)
def test_hostile_rows_stay_within_the_honest_range(cohort, data):
    rows, _, f, order = cohort
    updates = np.array(rows, np.int32)
    hostile = list(order[:f])
    honest = np.delete(updates, hostile, axis=0)
    low, high = honest.min(axis=0), honest.max(axis=0)
    for row in hostile:
        updates[row] = data.draw(st.sampled_from(EDGES))
    for result in (trimmed_mean(updates, num_byzantine=f), median(updates)):
        assert (low <= result).all()
        assert (result <= high).all()


@given(
    st.lists(st.tuples(int32_values, int32_values), min_size=1, max_size=6),
    st.integers(0, 1 << 17) | st.integers(0, (1 << 32) - 1),
    st.integers(0, 1 << 16),
)
@settings(max_examples=examples(200), deadline=None)
def test_server_step_equals_the_big_integer_oracle(pairs, lr_q16, momentum_q16):
    delta, velocity = (np.array(values, np.int32) for values in zip(*pairs, strict=True))
    next_velocity = [((momentum_q16 * v + (1 << 15)) >> 16) + u for u, v in pairs]
    expected = [(lr_q16 * v + (1 << 15)) >> 16 for v in next_velocity]
    fits = all(LOWEST <= value <= HIGHEST for value in next_velocity + expected)
    try:
        step, kept = server_step(delta, velocity, lr_q16, momentum_q16)
    except AggregationError:
        assert not fits
        return
    assert fits
    assert step.tolist() == expected
    assert (kept is None) == (momentum_q16 == 0)
    assert kept is None or kept.tolist() == next_velocity


@given(st.lists(st.tuples(int32_values, int32_values), min_size=1, max_size=6))
@settings(max_examples=examples(100), deadline=None)
def test_new_model_is_the_exact_sum_or_an_error(pairs):
    model, step = (np.array(values, np.int32) for values in zip(*pairs, strict=True))
    expected = [a + b for a, b in pairs]
    bad = [i for i, value in enumerate(expected) if not LOWEST <= value <= HIGHEST]
    if bad:
        with pytest.raises(AggregationError, match=f"index {bad[0]}: {expected[bad[0]]},"):
            apply_step(model, step)
    else:
        assert apply_step(model, step).tolist() == expected
