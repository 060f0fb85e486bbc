"""A participant's test share: the same examples, whatever happens to the file or the process."""

import numpy as np
import pytest

from clients.data.examples import LocalData
from coordinator.protocol.errors import ConfigError

X = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
DATA = LocalData(X, np.arange(200, dtype=np.int64), "data.csv")


def test_every_example_is_on_one_side_in_its_order():
    train, test = DATA.split(0.25)
    assert (len(train), len(test)) == (150, 50)
    assert sorted([*train.y, *test.y]) == list(range(200))
    for part in (train, test):
        assert list(part.y) == sorted(part.y)
        np.testing.assert_array_equal(part.x, X[part.y])
        assert (part.x.dtype, part.source) == (np.float32, "data.csv")


def test_the_share_is_spread_over_the_file():
    _, test = DATA.split(0.25)
    quarters = np.bincount(test.y // 50, minlength=4)
    assert quarters.min() > 4


def test_another_order_of_rows_gives_the_same_split():
    order = np.random.default_rng(6).permutation(200)
    _, test = LocalData(X[order], DATA.y[order], "data.csv").split(0.25)
    assert sorted(test.y) == list(DATA.split(0.25)[1].y)


def test_rows_that_are_added_leave_what_was_trained_on_out_of_the_test():
    more = np.random.default_rng(7).normal(size=(20, 3)).astype(np.float32)
    longer = LocalData(np.vstack([X, more]), np.arange(220, dtype=np.int64), "data.csv")
    before, after = set(DATA.split(0.25)[0].y), set(longer.split(0.25)[1].y)
    assert len(before & after) <= 5  # by row drawn at random it would be some 40


def test_one_example_is_tested_on_at_least_and_one_is_left():
    two = LocalData(X[:2], DATA.y[:2], "data.csv")
    assert [len(part) for part in two.split(0.001)] == [1, 1]
    with pytest.raises(ConfigError, match=r"data\.csv: 1 examples, .*test_share = 0\.2 takes 1"):
        LocalData(X[:1], DATA.y[:1], "data.csv").split(0.2)
    with pytest.raises(ConfigError, match="nothing is left to train on"):
        two.split(0.9)
