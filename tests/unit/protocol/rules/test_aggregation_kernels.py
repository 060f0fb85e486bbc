"""Where compiled code is kept, and what happens when it cannot be."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from coordinator.protocol import compiled
from coordinator.protocol.errors import AggregationError
from coordinator.protocol.parallel import over_spans
from coordinator.protocol.rules import kernels, median

_PROGRAM = """
import numpy as np
from coordinator.protocol.rules import median
print(median(np.array([[3], [1], [2]], np.int32)).tolist())
"""


def test_a_machine_without_a_cache_folder_compiles_in_the_process(monkeypatch):
    asked = []

    def njit(*, cache, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "_njit", njit)
    assert compiled.compiled(len) is len
    assert asked == [True, False]


@pytest.mark.slow
def test_cache_folder_is_taken_from_the_environment(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[2]"
    assert [path.name for path in tmp_path.rglob("kernels.trimmed_mean_span*.nbi")]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 80, 99_991, kernels.MOST_ROWS - 1])
def test_division_is_exact_at_every_edge(count):
    rng = np.random.default_rng(count)
    extremes = [-(1 << 31), -(1 << 31) + 1, -1, 0, 1, (1 << 31) - 2]
    near = [
        value * count + offset for value in extremes for offset in (0, 1, count // 2, count - 1)
    ]
    halves = [value * count + (count + 1) // 2 + offset for value in extremes for offset in (-1, 0)]
    wild = rng.integers(-(1 << 31) * count, ((1 << 31) - 1) * count, 100_000).tolist()
    sums = near + halves + wild
    out = np.empty(len(sums), np.int32)
    kernels._divide(np.array(sums, np.int64), count, out, len(sums))
    assert out.tolist() == [(2 * total + count) // (2 * count) for total in sums]


def test_more_rows_than_the_division_bears_are_refused(monkeypatch):
    monkeypatch.setattr(kernels, "MOST_ROWS", 3)
    rows = np.zeros((3, 2), np.int32)
    assert median(rows[:2]).tolist() == [0, 0]
    with pytest.raises(AggregationError, match="3 updates in one round, expected < 3"):
        median(rows)


@pytest.mark.parametrize("size", [1, 5, 1000, 100_001])
@pytest.mark.parametrize("threads", [1, 2, 7, 0])
def test_spans_cover_every_column_once_in_order(size, threads):
    spans = over_spans(lambda start, stop: (start, stop), size, cost=100, threads=threads)
    assert spans[0][0] == 0
    assert spans[-1][1] == size
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    assert all(start < stop for start, stop in spans)


def test_an_error_in_a_span_reaches_the_caller():
    def fail(start, stop):
        raise ValueError(f"{start}")

    with pytest.raises(ValueError, match="0"):
        over_spans(fail, 100_000, cost=100, threads=2)
