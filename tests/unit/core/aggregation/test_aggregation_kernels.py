"""Where compiled code is kept, and what happens when it cannot be."""

import itertools
import os
import subprocess
import sys

import pytest

from coordinator.core.aggregation import kernels
from coordinator.core.aggregation.parallel import over_spans

_PROGRAM = """
import numpy as np
from coordinator.core.aggregation import median
print(median(np.array([[3], [1], [2]], np.int32)).tolist())
"""


def test_a_machine_without_a_cache_folder_compiles_in_the_process(monkeypatch):
    asked = []

    def njit(*, cache, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernels, "_njit", njit)
    assert kernels._compiled(len) is len
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
