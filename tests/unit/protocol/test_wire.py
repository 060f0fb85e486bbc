"""The array codec and the metric checks that both ends of the transport share."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from coordinator.protocol import wire
from coordinator.protocol.errors import MalformedUpdateError


def saved(values: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


def code_of(data: bytes, dtype: str = "int32", shape: tuple[int, ...] = (4,)) -> str:
    with pytest.raises(MalformedUpdateError) as caught:
        wire.decode_npy(data, dtype=dtype, shape=shape, place="update")
    assert str(caught.value).startswith("update: ")
    return caught.value.code


@given(
    arrays.arrays(
        st.sampled_from(["<i4", "<f4", "<f8", "<f2", "|u1", "<i8"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_what_is_encoded_is_what_numpy_saves_and_decodes_as_a_view(values):
    data = wire.encode_npy(values)
    assert data == saved(values)
    found = wire.decode_npy(data, dtype=str(values.dtype), shape=values.shape)
    assert found.tobytes() == values.tobytes()
    assert not found.flags.writeable
    assert found.size == 0 or np.shares_memory(found, np.frombuffer(data, np.uint8))


def test_column_major_arrays_are_read_in_their_own_order():
    values = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = wire.decode_npy(saved(values), dtype="float32", shape=(2, 3))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_column_major_arrays_are_sent_in_row_order():
    values = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = wire.decode_npy(wire.encode_npy(values), dtype="float32", shape=(2, 3))
    assert found.tolist() == values.tolist()


GOOD = saved(np.arange(4, dtype=np.int32))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed-array"),
        (b"PK\x03\x04", "malformed-array"),
        (GOOD[:40], "malformed-array"),
        (GOOD.replace(b"'shape'", b"'shqpe'"), "malformed-array"),
        (GOOD.replace(b"\x01\x00", b"\x02\x00", 1), "malformed-array"),
        (GOOD.replace(b"{'descr'", b"{((((((("), "malformed-array"),
        (saved(np.zeros(4, np.uint32)), "wrong-dtype"),
        (saved(np.zeros(4, ">i4")), "wrong-dtype"),
        (saved(np.zeros(5_000, np.float64)), "wrong-dtype"),
        (saved(np.zeros(5_000, np.int32)), "wrong-shape"),
        (saved(np.array([object()] * 4), allow_pickle=True), "wrong-dtype"),
        (saved(np.zeros(5, np.int32)), "wrong-shape"),
        (saved(np.zeros((2, 2), np.int32)), "wrong-shape"),
        (saved(np.zeros((4, 1), np.int32)), "wrong-shape"),
        (saved(np.int32(1)), "wrong-shape"),
        (GOOD[:-1], "wrong-size"),
        (GOOD + b"x", "wrong-size"),
        (GOOD + bytes(5000), "wrong-size"),
        (b"x" * 5_000, "malformed-array"),
    ],
)
def test_other_bytes_are_refused(data, code):
    assert code_of(data) == code


def test_every_truncation_is_refused():
    for length in range(len(GOOD)):
        assert code_of(GOOD[:length]) in ("malformed-array", "wrong-size")


@given(st.integers(0, 127), st.integers(0, 255))
def test_any_other_header_byte_is_refused_or_says_the_same(position, value):
    data = GOOD[:position] + bytes([value]) + GOOD[position + 1 :]
    try:
        found = wire.decode_vector(data, 4, "update")
    except MalformedUpdateError:
        return
    assert found.tolist() == [0, 1, 2, 3]


def test_metrics_become_plain_numbers():
    told = {"a": np.float64(0.5), "b": 3, "c": [1, 2], "d": []}
    plain = wire.plain_metrics(told)
    assert plain == {"a": 0.5, "b": 3, "c": [1, 2], "d": []}
    assert type(plain["a"]) is float


@pytest.mark.parametrize(
    "told",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": [1.0, float("nan")]},
        {"a": True},
        {"a": "1"},
        {"a": list(range(65))},
        {f"m{i}": 1 for i in range(65)},
    ],
)
def test_metrics_that_cannot_be_committed_to_are_refused(told):
    with pytest.raises(MalformedUpdateError) as caught:
        wire.plain_metrics(told)
    assert caught.value.code == "bad-metrics"


@pytest.mark.parametrize("examples", [1, 2**63 - 1])
def test_a_count_of_examples_is_a_positive_integer(examples):
    assert wire.check_examples({"num-examples": examples}) == examples


@pytest.mark.parametrize("examples", [0, -1, 2**63, 1.0, True, [1], "1"])
def test_no_other_count_of_examples_is(examples):
    with pytest.raises(MalformedUpdateError) as caught:
        wire.check_examples({"num-examples": examples})
    assert caught.value.code == "bad-examples"
