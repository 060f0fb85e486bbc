"""The rules on numbers worked by hand, at the edges of int32, and their refusals."""

import numpy as np
import pytest

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.rules import (
    RULES,
    WeightedSum,
    aggregate,
    median,
    rules_by_number,
    trimmed_mean,
    weighted_mean,
)
from coordinator.protocol.types import WEIGHT_TOTAL

HALF, QUARTER = WEIGHT_TOTAL // 2, WEIGHT_TOTAL // 4
NUMBERED = [(number, rule.name) for number, rule in rules_by_number().items()]
LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def column(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], np.int32)


def equal_weights(n: int) -> list[int]:
    return [WEIGHT_TOTAL // n + (i < WEIGHT_TOTAL % n) for i in range(n)]


def test_one_fixture_tells_the_three_rules_apart():
    updates = column(-7, 1, 3, 8, 100)
    weights = [QUARTER, QUARTER, QUARTER, QUARTER, 0]
    # mean (-7+1+3+8)/4 = 1.25; median 3; trimmed (1+3+8)/3 = 4
    assert aggregate("fedavg", updates, weights, num_byzantine=1).tolist() == [1]
    assert aggregate("median", updates, weights, num_byzantine=1).tolist() == [3]
    assert aggregate("trimmed_mean", updates, weights, num_byzantine=1).tolist() == [4]


@pytest.mark.parametrize(("number", "name"), NUMBERED)
def test_committed_number_and_name_are_the_same_rule(number, name):
    updates = column(-7, 1, 3, 8, 100)
    weights = [HALF, QUARTER, QUARTER, 0, 0]
    by_number = aggregate(number, updates, weights, num_byzantine=0)
    assert by_number.tolist() == aggregate(name, updates, weights, num_byzantine=0).tolist()
    assert {name for _, name in NUMBERED} == set(RULES.names())


@pytest.mark.parametrize("kind", [0, 65_535, "no_such_rule", ""])
def test_unknown_rule_is_refused_by_name(kind):
    with pytest.raises(AggregationError, match=r"unknown, expected one of 1 \(fedavg\)"):
        aggregate(kind, column(1), [WEIGHT_TOTAL], num_byzantine=0)


ROBUST = [name for name in RULES.names() if RULES.get(name).withstands_byzantine]


@pytest.mark.parametrize(
    ("kind", "n", "f"),
    [
        *((kind, RULES.get(kind).fewest(f) - 1, f) for kind in ROBUST for f in (1, 2, 3)),
        *((kind, 3, -1) for kind in RULES.names()),
    ],
)
def test_fault_bound_names_n_and_f(kind, n, f):
    with pytest.raises(AggregationError, match=rf"n = {n} .*f = {f} "):
        aggregate(kind, column(*range(n)), equal_weights(n), num_byzantine=f)


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ((1, 2), (HALF, HALF), 2),  # 1.5 rounds up
        ((-1, -2), (HALF, HALF), -1),  # -1.5 rounds up, towards zero here
        ((0, -1), (HALF, HALF), 0),  # -0.5 rounds up to 0
        ((0, 1), (HALF + 1, HALF - 1), 0),  # just below a half
        ((0, -1), (HALF - 1, HALF + 1), -1),  # just beyond minus a half
        ((4, 0), (3 * QUARTER, QUARTER), 3),
        ((HIGHEST, LOWEST), (HALF, HALF), 0),  # -0.5
        ((HIGHEST, HIGHEST), (1, WEIGHT_TOTAL - 1), HIGHEST),
        ((LOWEST, LOWEST), (1, WEIGHT_TOTAL - 1), LOWEST),
        ((LOWEST, HIGHEST), (0, WEIGHT_TOTAL), HIGHEST),
        ((-123,), (WEIGHT_TOTAL,), -123),
    ],
)
def test_weighted_mean_by_hand(values, weights, expected):
    assert weighted_mean(column(*values), weights).tolist() == [expected]
    running = WeightedSum(1)
    for value, weight in zip(values, weights, strict=True):
        running.add(np.array([value], np.int32), weight)
    assert running.result().tolist() == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((5,), 5),
        ((1, 2), 2),
        ((-1, -2), -1),
        ((0, -1), 0),
        ((9, -4, 2), 2),
        ((9, -4, 2, 3), 3),  # (2 + 3) / 2 = 2.5
        ((-9, -4, -2, -3), -3),  # (-3 - 4) / 2 = -3.5
        ((LOWEST, HIGHEST), 0),
        ((LOWEST, LOWEST), LOWEST),
        ((HIGHEST, HIGHEST, LOWEST), HIGHEST),
        ((7, 7, 7, 7, 1, 2, 3), 7),
    ],
)
def test_median_by_hand(values, expected):
    assert median(column(*values)).tolist() == [expected]


@pytest.mark.parametrize(
    ("values", "f", "expected"),
    [
        ((0, 1, 4, 90), 0, 24),  # 95 / 4 = 23.75
        ((0, 1, 4, 90), 1, 3),  # 5 / 2 = 2.5
        ((0, -1, -4, -90), 1, -2),  # -2.5
        ((1, 1, 0), 0, 1),  # 2 / 3
        ((-1, -1, 0), 0, -1),  # -2 / 3
        ((-1, 0, 0), 0, 0),  # -1 / 3
        ((10, -10, 6, 2, 3), 1, 4),  # 11 / 3 = 3.67
        ((10, -10, 6, 2, 3), 2, 3),
        ((LOWEST,) * 5, 2, LOWEST),
        ((LOWEST,) * 3 + (HIGHEST,) * 4, 0, 306783378),  # (4*HIGHEST + 3*LOWEST) / 7
        ((HIGHEST,) * 6, 0, HIGHEST),
        ((LOWEST,) * 6, 0, LOWEST),
    ],
)
def test_trimmed_mean_by_hand(values, f, expected):
    assert trimmed_mean(column(*values), num_byzantine=f).tolist() == [expected]


def test_hostile_rows_are_contained_by_the_robust_rules_and_take_over_the_mean():
    honest = [np.array([10 + i, -10 - i], np.int32) for i in range(5)]
    hostile = [np.array([HIGHEST, LOWEST], np.int32)] * 2
    updates = hostile[:1] + honest + hostile[1:]
    assert trimmed_mean(updates, num_byzantine=2).tolist() == [13, -13]
    assert median(updates).tolist() == [13, -13]
    assert weighted_mean(updates, equal_weights(7))[0] > 600_000_000


def test_rows_need_not_lie_in_one_array(tmp_path):
    rng = np.random.default_rng(3)
    together = rng.integers(LOWEST, HIGHEST, (7, 1000), endpoint=True).astype(np.int32)
    apart = []
    for i, row in enumerate(together):
        (tmp_path / f"{i}").write_bytes(b"head" * 2 + row.tobytes())
        apart.append(np.memmap(tmp_path / f"{i}", np.int32, "r", offset=8))
    weights = equal_weights(7)
    for kind in RULES.names():
        one = aggregate(kind, together, weights, num_byzantine=0)
        assert one.tobytes() == aggregate(kind, apart, weights, num_byzantine=0).tobytes()


@pytest.mark.parametrize("kind", RULES.names())
def test_inputs_are_not_modified_and_the_result_is_new(kind):
    updates = np.arange(30, dtype=np.int32).reshape(3, 10)[::-1].copy()
    before = updates.copy()
    result = aggregate(kind, updates, equal_weights(3), num_byzantine=0)
    assert np.array_equal(updates, before)
    assert not np.shares_memory(result, updates)
    assert (result.dtype, result.shape) == (np.int32, (10,))


@pytest.mark.parametrize("kind", RULES.names())
def test_any_number_of_threads_and_any_split_give_the_same_bytes(kind):
    rng = np.random.default_rng(11)
    updates = rng.integers(LOWEST, HIGHEST, (9, 100_003), endpoint=True).astype(np.int32)
    weights = equal_weights(9)
    single = aggregate(kind, updates, weights, num_byzantine=3, threads=1)
    for threads in (2, 3, 8, None):
        other = aggregate(kind, updates, weights, num_byzantine=3, threads=threads)
        assert other.tobytes() == single.tobytes()


BAD_ROWS = [
    (np.zeros(4, np.float32), r"update 1 has dtype <f4, expected native int32"),
    (np.zeros(4, np.int64), r"update 1 has dtype <i8, expected native int32"),
    (np.zeros(4, ">i4"), r"update 1 has dtype >i4, expected native int32"),
    (np.zeros(5, np.int32), r"update 1 has 5 values, expected 4"),
    (np.zeros((1, 4), np.int32), r"update 1 has shape \(1, 4\), expected one dimension"),
    (np.zeros(8, np.int32)[::2], r"update 1 is not contiguous"),
    (np.zeros(17, np.uint8)[1:].view(np.int32), r"update 1 is not contiguous and aligned"),
    ([0, 0, 0, 0], r"update 1 is a list, expected a numpy array"),
]


@pytest.mark.parametrize("kind", ["fedavg", "median", "trimmed_mean"])
@pytest.mark.parametrize(("bad", "message"), BAD_ROWS)
def test_rows_no_kernel_may_read_are_refused_by_index(kind, bad, message):
    good = np.zeros(4, np.int32)
    with pytest.raises(AggregationError, match=message):
        aggregate(kind, [good, bad, good], equal_weights(3), num_byzantine=0)


def test_two_dimensional_array_with_strided_rows_is_refused():
    with pytest.raises(AggregationError, match="update 0 is not contiguous"):
        median(np.zeros((3, 8), np.int32)[:, ::2])


@pytest.mark.parametrize("rule", [median, lambda u: trimmed_mean(u, num_byzantine=0)])
def test_nothing_to_aggregate_is_refused(rule):
    with pytest.raises(AggregationError, match="no updates to aggregate"):
        rule([])
    with pytest.raises(AggregationError, match="update 0 has 0 values"):
        rule([np.zeros(0, np.int32)])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([WEIGHT_TOTAL], "1 weights for 2 updates"),
        ([HALF, HALF - 1], f"weights sum to {WEIGHT_TOTAL - 1}, expected {WEIGHT_TOTAL}"),
        ([HALF, HALF + 1], f"weights sum to {WEIGHT_TOTAL + 1}, expected {WEIGHT_TOTAL}"),
        ([-1, WEIGHT_TOTAL + 1], "weight 0 is -1, expected 0 to"),
        ([0, WEIGHT_TOTAL + 1], f"weight 1 is {WEIGHT_TOTAL + 1}, expected 0 to"),
        ([0.5, 0.5], "weight 0 is 0.5, a float, expected an integer"),
    ],
)
def test_weights_that_are_not_a_partition_are_refused(weights, message):
    with pytest.raises(AggregationError, match=message):
        weighted_mean(column(1, 2), weights)


def test_running_sum_refuses_and_stays_as_it_was():
    running = WeightedSum(2)
    running.add(np.array([8, -8], np.int32), HALF)
    with pytest.raises(AggregationError, match="weights sum to 16777217, expected at most"):
        running.add(np.array([1, 1], np.int32), HALF + 1)
    with pytest.raises(AggregationError, match="update has 3 values, expected 2"):
        running.add(np.zeros(3, np.int32), 1)
    with pytest.raises(AggregationError, match="update has dtype <f8"):
        running.add(np.zeros(2), 1)
    with pytest.raises(AggregationError, match=f"weights sum to {HALF}, expected {WEIGHT_TOTAL}"):
        running.result()
    running.add(np.array([0, -1], np.int32), HALF)
    assert running.weight == WEIGHT_TOTAL
    assert running.result().tolist() == [4, -4]
    with pytest.raises(AggregationError, match="dimension is 0"):
        WeightedSum(0)


def test_many_more_rows_than_columns():
    values = np.arange(-1000, 1001, dtype=np.int32)
    updates = np.random.default_rng(5).permutation(values)[:, None].repeat(3, axis=1)
    assert median(updates).tolist() == [0, 0, 0]
    assert trimmed_mean(updates, num_byzantine=900).tolist() == [0, 0, 0]
    assert trimmed_mean(updates + np.int32(5), num_byzantine=1).tolist() == [5, 5, 5]
