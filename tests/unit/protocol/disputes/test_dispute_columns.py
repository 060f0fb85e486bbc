"""Columns by hand, and against the aggregation they stand for."""

import hashlib

import numpy as np
import pytest
from dispute_rounds import FEDAVG, MEDIAN, TRIMMED_MEAN, make_rule
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.protocol.commitments.merkle import verify_inclusion
from coordinator.protocol.disputes.columns import (
    ZERO,
    Column,
    aggregate_column,
    aggregate_of,
    encode_entry,
    followed,
    is_ranked,
    order_statistics,
    payments_column,
    share_of,
    totals_column,
    trim_of,
    wrapped,
)
from coordinator.protocol.errors import AggregationError, VerificationError
from coordinator.protocol.rules import aggregate
from coordinator.protocol.types import Address, ContributorLeaf, RoundId, ScoreLeaf, Wei

INT32 = st.integers(-(2**31), 2**31 - 1)
TRIMMED = make_rule(kind=TRIMMED_MEAN, num_byzantine=1)


def test_a_weighted_mean_is_a_running_sum() -> None:
    column = aggregate_column(make_rule(), [3 << 22, 1 << 22], [-3, 5])
    assert column.entries == (
        ZERO,
        (-9 << 22, 0, 0, 0, 0),
        (-4 << 22, 0, 0, 0, 0),
    )
    # -1 exactly: (-2^24 + 2^23) >> 24, halves up.
    assert aggregate_of(make_rule(), 2, column) == -1
    assert (column.lo, column.hi) == (0, 0)


def test_a_trimmed_mean_counts_around_what_is_kept() -> None:
    column = aggregate_column(TRIMMED, [0] * 5, [9, 1, 7, 4, 4])
    assert (column.lo, column.hi) == (4, 7)
    assert column.entries == (
        ZERO,
        (0, 0, 0, 1, 0),  # 9 is above
        (1, 0, 0, 1, 0),  # 1 is below
        (1, 0, 1, 1, 0),  # 7 is hi
        (1, 1, 1, 1, 0),  # 4 is lo
        (1, 2, 1, 1, 0),
    )
    # Kept 4, 4, 7: 5.
    assert aggregate_of(TRIMMED, 5, column) == 5


def test_values_strictly_between_are_summed() -> None:
    column = aggregate_column(TRIMMED, [0] * 6, [0, 1, 2, 3, 4, 100])
    assert (column.lo, column.hi, column.last) == (1, 4, (1, 1, 1, 1, 5))
    # Kept 1, 2, 3, 4: 2.5, halves up.
    assert aggregate_of(TRIMMED, 6, column) == 3


def test_where_lo_is_hi_both_are_counted() -> None:
    column = aggregate_column(make_rule(kind=MEDIAN), [0] * 3, [5, 5, 5])
    assert column.last == (0, 3, 3, 0, 0)
    assert aggregate_of(make_rule(kind=MEDIAN), 3, column) == 5


@pytest.mark.parametrize(
    ("kind", "f", "n", "expected"),
    [(MEDIAN, 0, 1, 0), (MEDIAN, 0, 2, 0), (MEDIAN, 0, 5, 2), (MEDIAN, 0, 6, 2), (3, 2, 5, 2)],
)
def test_how_many_are_trimmed(kind: int, f: int, n: int, expected: int) -> None:
    assert trim_of(make_rule(kind=kind, num_byzantine=f), n) == expected


def test_too_few_to_trim() -> None:
    with pytest.raises(AggregationError, match="n = 2 values cannot lose 1 at each end"):
        trim_of(TRIMMED, 2)


@settings(deadline=None)  # the kernels are compiled on the way
@given(
    values=st.lists(INT32, min_size=1, max_size=9),
    kind=st.sampled_from([FEDAVG, MEDIAN, TRIMMED_MEAN]),
    f=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_the_last_entry_gives_the_aggregate(
    values: list[int], kind: int, f: int, seed: int
) -> None:
    """The same number as the kernels that aggregate whole vectors."""
    n = len(values)
    f = min(f, (n - 1) // 2) if kind == TRIMMED_MEAN else 0
    rule = make_rule(kind=kind, num_byzantine=f)
    cuts = sorted(np.random.default_rng(seed).integers(0, 2**24 + 1, n - 1))
    weights = [int(x) for x in np.diff([0, *cuts, 2**24])]
    column = aggregate_column(rule, weights, values)
    rows = [np.array([value], np.int32) for value in values]
    (expected,) = aggregate(kind, rows, weights, num_byzantine=f)
    assert aggregate_of(rule, n, column) == expected
    assert order_statistics(rule, values) == (column.lo, column.hi)


@given(
    values=st.lists(st.integers(-3, 3), min_size=1, max_size=9),
    claim=st.tuples(st.integers(-4, 4), st.integers(-4, 4)).map(sorted),
    f=st.integers(0, 4),
)
def test_only_the_right_claim_is_ranked(values: list[int], claim: list[int], f: int) -> None:
    rule = make_rule(kind=TRIMMED_MEAN, num_byzantine=min(f, (len(values) - 1) // 2))
    column = aggregate_column(rule, [0] * len(values), values, claimed=(claim[0], claim[1]))
    right = tuple(claim) == order_statistics(rule, values)
    assert is_ranked(rule, len(values), column.last) == right
    if not right:
        with pytest.raises(VerificationError, match="are not the values kept"):
            aggregate_of(rule, len(values), column)


def leaf(weight: int, examples: int, stake: int) -> ContributorLeaf:
    who = Address("0x" + "11" * 20)
    return ContributorLeaf(RoundId(1), 0, who, bytes(32), examples, weight, Wei(stake), bytes(32))


def test_totals_cap_examples() -> None:
    column = totals_column(make_rule(examples_cap=10), [leaf(5, 7, 100), leaf(6, 50, 2**255)])
    assert column.entries == (
        ZERO,
        (5, 7, 100, 0, 0),
        (11, 17, wrapped(100 + 2**255), 0, 0),
    )


def test_payments_are_floored_one_by_one() -> None:
    scores = [ScoreLeaf(RoundId(1), Address("0x" + "11" * 20), score) for score in (1, 1, 1)]
    assert payments_column(Wei(10), 3, scores).last == (3, 9, 0, 0, 0)
    assert share_of(Wei(10), 1, 0) == 0


def test_words_wrap_as_on_chain() -> None:
    assert wrapped(2**255) == -(2**255)
    assert wrapped(-(2**255) - 1) == 2**255 - 1
    assert followed(make_rule(), 0, 0, (2**255 - 1, 0, 0, 0, 0), 1, 1)[0] == -(2**255)


def test_the_tree_is_rfc_6962_over_160_bytes() -> None:
    entries = tuple((i, -i, 0, 0, 7) for i in range(5))
    column = Column(entries)
    encoded = [encode_entry(entry) for entry in entries]
    assert all(len(data) == 160 for data in encoded)
    assert encoded[1][:64] == bytes(31) + b"\1" + b"\xff" * 32
    for index, data in enumerate(encoded):
        verify_inclusion(column.root, data, index, 5, column.path(index))

    def sha(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    leaves = [sha(b"\0", data) for data in encoded]
    pairs = [sha(b"\1", leaves[0], leaves[1]), sha(b"\1", leaves[2], leaves[3])]
    assert column.root == sha(b"\1", sha(b"\1", *pairs), leaves[4])
    with pytest.raises(VerificationError, match="leaf 5, expected 0 to 4"):
        column.path(5)
