"""Inner products, exact where floats and int64 are not."""

import numpy as np
from histories import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.protocol.scores.exact_dot import inner_products

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1
vectors = st.lists(st.integers(LOWEST, HIGHEST), min_size=4, max_size=4)


def dot(a, b) -> int:
    return sum(int(x) * int(y) for x, y in zip(a, b, strict=True))


@given(st.lists(vectors, min_size=0, max_size=4), st.lists(vectors, min_size=0, max_size=3))
@settings(max_examples=examples(200), deadline=None)
def test_equals_python_integers(left, right):
    found = inner_products(
        [np.array(row, np.int32) for row in left], [np.array(row, np.int32) for row in right]
    )
    assert found == [[dot(a, b) for b in right] for a in left]


def test_sum_beyond_64_bits_and_across_blocks():
    vector = np.full(200_000, LOWEST, np.int32)
    other = vector.copy()
    other[::2] = HIGHEST
    assert inner_products([vector], [vector, other]) == [
        [200_000 << 62, 100_000 * (1 << 62) + 100_000 * LOWEST * HIGHEST]
    ]
