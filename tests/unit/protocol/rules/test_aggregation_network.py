"""Sorting networks, proven by the zero-one principle for every small size."""

import itertools

import numpy as np
import pytest

from coordinator.protocol.rules.sorting_network import (
    EXCHANGE,
    KEEP_HIGH,
    KEEP_LOW,
    batcher_network,
    trimming_network,
)


def all_bits(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), np.int32).T.copy()


def apply_network(network: np.ndarray, rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    for operation, i, j in network:
        low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
        if operation in (EXCHANGE, KEEP_LOW):
            rows[i] = low
        if operation in (EXCHANGE, KEEP_HIGH):
            rows[j] = high
    return rows


@pytest.mark.parametrize("n", range(1, 15))
def test_batcher_sorts_every_zero_one_input(n):
    network = [(EXCHANGE, i, j) for i, j in batcher_network(n)]
    rows = apply_network(np.array(network, np.int32).reshape(-1, 3), all_bits(n))
    assert np.array_equal(rows, np.sort(all_bits(n), axis=0))


@pytest.mark.parametrize("n", range(1, 13))
def test_pruned_network_keeps_the_middle_of_every_zero_one_input(n):
    bits = all_bits(n)
    for trim in range((n - 1) // 2 + 1):
        kept = apply_network(trimming_network(n, trim), bits)[trim : n - trim]
        expected = np.sort(bits, axis=0)[trim : n - trim]
        assert np.array_equal(kept.sum(axis=0), expected.sum(axis=0)), trim


def test_pruning_leaves_out_what_no_rule_reads():
    full = len(list(batcher_network(100)))
    median_network = trimming_network(100, 49)
    assert full == 1077
    assert len(median_network) == 888
    assert np.bincount(median_network[:, 0]).tolist() == [790, 49, 49]
    assert len(trimming_network(100, 0)) == 0
    assert len(trimming_network(1, 0)) == 0


def test_network_is_shared_and_read_only():
    network = trimming_network(9, 4)
    assert network is trimming_network(9, 4)
    with pytest.raises(ValueError, match="read-only"):
        network[0] = 0
