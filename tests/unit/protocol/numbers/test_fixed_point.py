import numpy as np
import pytest

from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.fixed_point import dequantise, quantise, quantise_into, subtract
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec


def one(dtype="float32", shape=(2,), scale_bits=20):
    return Manifest((TensorSpec("w", shape, dtype),), scale_bits=scale_bits)


def codes(call):
    with pytest.raises(MalformedUpdateError) as caught:
        call()
    return caught.value.code, str(caught.value)


def test_ties_go_to_even():
    # quarters at scale 2^1: 0.25 -> 0.5 -> 0, 0.75 -> 1.5 -> 2, 1.25 -> 2.5 -> 2
    values = np.array([0.25, 0.75, 1.25, -0.25, -0.75, -1.25], np.float32)
    assert quantise({"w": values}, one(shape=(6,), scale_bits=1)).tolist() == [0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_order_layout_and_dtypes(dtype):
    manifest = Manifest(
        (TensorSpec("b", (2,), dtype), TensorSpec("a", (2, 2), dtype)), scale_bits=4
    )
    arrays = {
        "a": np.array([[1, 2], [3, 4]], dtype).T,  # a view: not contiguous
        "b": np.array([-1, 0.5], dtype),
    }
    vector = quantise(arrays, manifest)
    assert vector.dtype == np.int32
    assert vector.tolist() == [-16, 8, 16, 48, 32, 64]
    back = dequantise(vector, manifest)
    assert list(back) == ["b", "a"]
    assert back["a"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back["a"], arrays["a"])
    np.testing.assert_array_equal(back["b"], arrays["b"])


def test_foreign_byte_order_and_read_only_inputs():
    values = np.array([1.5, -2.0], ">f4")
    values.flags.writeable = False
    assert quantise({"w": values}, one(scale_bits=1)).tolist() == [3, -4]


def test_the_limits_of_int32_are_reached_and_not_passed():
    manifest = one("float64", scale_bits=20)
    top = (2**31 - 1) / 2**20
    assert quantise({"w": np.array([top, -2048.0])}, manifest).tolist() == [2**31 - 1, -(2**31)]
    # 2^31 - 0.5 is half way to 2^31 and even wins: out of range
    above = (2**31 - 0.5) / 2**20
    code, message = codes(lambda: quantise({"w": np.array([0.0, above])}, manifest))
    assert code == "out-of-range"
    assert message == (
        "tensor 'w' at [1] is 2047.9999995231628, expected a finite number from -2048 to 2048 "
        "(scale 2^20)"
    )
    # -(2^31 + 0.5) is half way too, and the even neighbour is -2^31: in range
    assert quantise({"w": np.array([0.0, -2048.0 - 2**-21])}, manifest)[1] == -(2**31)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_place(value):
    array = np.zeros((3, 4), np.float32)
    array[1, 2] = value
    code, message = codes(lambda: quantise({"w": array}, one(shape=(3, 4))))
    assert code == "not-finite"
    assert f"tensor 'w' at [1, 2] is {value!r}" in message.replace("np.", "")


@pytest.mark.parametrize("value", [2048.0, -2049.0, 3.0e38, -3.0e38])
def test_float32_out_of_range(value):
    array = np.array([0.0, value], np.float32)
    assert codes(lambda: quantise({"w": array}, one()))[0] == "out-of-range"


def test_float64_beyond_the_rounding_constant():
    for value in (2.0**40, -(2.0**60), 1.7e308, -1.7e308):
        array = np.array([0.0, value])
        assert codes(lambda a=array: quantise({"w": a}, one("float64")))[0] == "out-of-range"


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({}, "missing-tensor", "tensor 'w' is missing"),
        ({"v": np.zeros(2, np.float32)}, "missing-tensor", "'w'"),
        (
            {"w": np.zeros(2, np.float32), "v": np.zeros(1)},
            "extra-tensor",
            "'v' is not in the manifest",
        ),
        ({"w": np.zeros(3, np.float32)}, "wrong-shape", "shape (3,), expected (2,)"),
        ({"w": np.zeros((1, 2), np.float32)}, "wrong-shape", "shape (1, 2), expected (2,)"),
        ({"w": np.zeros(1, np.float32)}, "wrong-shape", "shape (1,)"),
        ({"w": np.zeros(2)}, "wrong-dtype", "dtype float64, expected float32"),
        ({"w": np.zeros(2, np.int32)}, "wrong-dtype", "dtype int32, expected float32"),
    ],
)
def test_models_that_do_not_fit_the_manifest(arrays, code, words):
    found, message = codes(lambda: quantise(arrays, one()))
    assert found == code
    assert words in message


def test_quantise_into_reuses_the_buffer_and_refuses_a_wrong_one():
    out = np.full(2, 99, np.int32)
    assert quantise_into({"w": np.array([1, 2], np.float32)}, one(scale_bits=0), out) is out
    assert out.tolist() == [1, 2]
    arrays = {"w": np.zeros(2, np.float32)}
    assert codes(lambda: quantise_into(arrays, one(), np.zeros(3, np.int32)))[0] == "wrong-shape"
    assert codes(lambda: quantise_into(arrays, one(), np.zeros(2)))[0] == "wrong-dtype"
    strided = np.zeros(4, np.int32)[::2]
    assert codes(lambda: quantise_into(arrays, one(), strided))[0] == "wrong-shape"


def test_dequantise_rounds_to_nearest_in_float32():
    # 2^24 + 1 lies half way between two float32 and goes to the even one
    back = dequantise(np.array([2**24 + 1, 2**24 + 3], np.int32), one(scale_bits=0))["w"]
    assert back.tolist() == [2**24, 2**24 + 4]
    exact = dequantise(np.array([2**24 + 1, -(2**31)], np.int32), one("float64", scale_bits=0))["w"]
    assert exact.tolist() == [2**24 + 1, -(2**31)]


def test_dequantise_refuses_what_float16_cannot_hold():
    manifest = one("float16", scale_bits=0)
    assert dequantise(np.array([65504, -3], np.int32), manifest)["w"].tolist() == [65504.0, -3.0]
    code, message = codes(lambda: dequantise(np.array([0, 65520], np.int32), manifest))
    assert code == "out-of-range"
    assert "at [1] is 65520.0" in message


def test_dequantise_refuses_a_wrong_vector():
    assert codes(lambda: dequantise(np.zeros(2, np.int64), one()))[0] == "wrong-dtype"
    assert codes(lambda: dequantise(np.zeros((2, 1), np.int32), one()))[0] == "wrong-shape"


def test_scalars_and_empty_tensors():
    manifest = Manifest((TensorSpec("s", (), "float64"), TensorSpec("e", (0, 3), "float32")))
    vector = quantise({"s": np.array(1.0), "e": np.zeros((0, 3), np.float32)}, manifest)
    assert vector.tolist() == [1 << 20]
    back = dequantise(vector, manifest)
    assert back["s"].shape == ()
    assert back["e"].shape == (0, 3)
    code, message = codes(
        lambda: quantise({"s": np.array(np.nan), "e": np.zeros((0, 3), np.float32)}, manifest)
    )
    assert code == "not-finite"
    assert "tensor 's' at [] is nan" in message


def test_subtract():
    trained, base = np.array([5, -7, 0], np.int32), np.array([2, 1, 0], np.int32)
    assert subtract(trained, base).tolist() == [3, -8, 0]
    assert (trained.tolist(), base.tolist()) == ([5, -7, 0], [2, 1, 0])
    out = np.empty(3, np.int32)
    assert subtract(trained, base, out=out) is out
    assert subtract(trained, base, out=trained).tolist() == [3, -8, 0]


@pytest.mark.parametrize("into", ["fresh", "trained", "base"])
def test_subtract_overflow_names_the_place_and_the_true_difference(into):
    arrays = {
        "trained": np.array([0, -(2**31), 1], np.int32),
        "base": np.array([-(2**31) + 1, 1, 2], np.int32),
    }
    code, message = codes(lambda: subtract(arrays["trained"], arrays["base"], out=arrays.get(into)))
    assert code == "update-overflow"
    assert "parameter 1 changed by -2147483649" in message


def test_subtract_refuses_different_shapes():
    call = lambda: subtract(np.zeros(2, np.int32), np.zeros(3, np.int32))  # noqa: E731
    assert codes(call)[0] == "wrong-shape"


def test_a_tensor_with_a_scale_of_its_own():
    """By hand: 1.5 * 2^20; 4,000,000.25 * 2^8 rounds to even; the way back divides by the same."""
    manifest = Manifest(
        (TensorSpec("w", (1,), "float32"), TensorSpec("var", (2,), "float64", 8)), version=2
    )
    model = {"w": np.array([1.5], np.float32), "var": np.array([4_000_000.25, 2.5 / 256])}
    vector = quantise(model, manifest)
    assert vector.tolist() == [1_572_864, 1_024_000_064, 2]
    back = dequantise(vector, manifest)
    assert back["w"].tolist() == [1.5]
    assert back["var"].tolist() == [4_000_000.25, 2 / 256]
    with pytest.raises(MalformedUpdateError, match=r"'var' at \[0\] is .* to 8388608 \(scale 2\^8"):
        quantise({**model, "var": np.array([8_388_608.0, 0.0])}, manifest)
    with pytest.raises(MalformedUpdateError, match=r"'w' at \[0\] is 2048.0, .* \(scale 2\^20\)"):
        quantise({**model, "w": np.array([2048.0], np.float32)}, manifest)
