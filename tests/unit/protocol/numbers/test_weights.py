import numpy as np
import pytest

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.types import WEIGHT_TOTAL

A, B, C = ("0x" + 38 * "0" + digits for digits in ("0B", "0a", "0c"))  # B < A < C by bytes


def test_equal_shares_give_the_rest_to_the_smallest_address():
    # 2^24 = 3 * 5592405 + 1
    assert apportion([1, 1, 1], [A, B, C]) == [5592405, 5592406, 5592405]


def test_largest_remainder_wins():
    # quotas of 2^24/7 * (1, 2, 4): 2396745.14, 4793490.29, 9586980.57: one unit left, to the last
    assert apportion([1, 2, 4], [A, B, C]) == [2396745, 4793490, 9586981]


def test_powers_of_two_are_exact():
    assert apportion([1, 3], [A, B]) == [1 << 22, 3 << 22]


def test_zero_shares_weigh_nothing():
    assert apportion([0, 5, 0], [A, B, C]) == [0, WEIGHT_TOTAL, 0]


def test_shares_too_small_to_count_may_weigh_nothing():
    weights = apportion([10**40, 1, 1], [A, B, C])
    assert weights == [WEIGHT_TOTAL, 0, 0]


def test_numpy_integers_are_integers():
    assert apportion(list(np.array([1, 3], np.int64)), [A, B]) == [1 << 22, 3 << 22]


@pytest.mark.parametrize(
    ("shares", "addresses", "words"),
    [
        ([0, 0], [A, B], "shares of all 2 contributors are zero"),
        ([], [], "shares of all 0 contributors are zero"),
        ([1, -1], [A, B], "share 1 is -1"),
        ([1, 0.5], [A, B], "share 1 is 0.5, expected an integer"),
        ([1, 1], [A], "2 shares for 1"),
        ([1, 1], [A, A], "2 shares for 1 different addresses"),
    ],
)
def test_shares_that_cannot_be_apportioned(shares, addresses, words):
    with pytest.raises(AggregationError, match=words):
        apportion(shares, addresses)
