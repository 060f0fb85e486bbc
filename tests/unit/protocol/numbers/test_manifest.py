import hashlib

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError, VerificationError
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec, split_buffers

JSON = (
    b'{"chunk_values":256,"scale_bits":20,"tensors":'
    b'[{"dtype":"float32","name":"w","shape":[2,3]},{"dtype":"float64","name":"b","shape":[]}],'
    b'"version":1}'
)
MANIFEST = Manifest((TensorSpec("w", (2, 3), "float32"), TensorSpec("b", (), "float64")))


def test_json_digest_and_dimension():
    assert MANIFEST.to_json() == JSON
    assert MANIFEST.digest() == hashlib.sha256(JSON).digest()
    assert MANIFEST.dimension == 7  # a scalar is one parameter


def test_round_trip():
    assert Manifest.from_json(JSON) == MANIFEST


def test_order_of_tensors_changes_the_digest():
    turned = Manifest(tuple(reversed(MANIFEST.tensors)))
    assert turned.dimension == MANIFEST.dimension
    assert turned.digest() != MANIFEST.digest()


def test_of_keeps_order_and_leaves_buffers_out():
    model = {
        "z": np.zeros((1, 2), np.float16),
        "steps": np.array(3),
        "mask": np.array([True]),
        "a": np.zeros(3),
    }
    manifest = Manifest.of(model, scale_bits=8, chunk_values=16)
    assert manifest.tensors == (
        TensorSpec("z", (1, 2), "float16"),
        TensorSpec("a", (3,), "float64"),
    )
    assert (manifest.scale_bits, manifest.chunk_values) == (8, 16)
    floats, buffers = split_buffers(model)
    assert list(floats) == ["z", "a"]
    assert list(buffers) == ["steps", "mask"]
    assert floats["a"] is model["a"]


@pytest.mark.parametrize(
    "array", [np.zeros(1, np.complex64), np.zeros(1, np.longdouble), np.array(["x"])]
)
def test_other_kinds_of_tensor_are_refused(array):
    with pytest.raises(ConfigError, match="tensor 'w' has dtype"):
        Manifest.of({"w": array})


def test_a_model_without_floats_is_refused():
    with pytest.raises(ConfigError, match="number of tensors is 0"):
        Manifest.of({"steps": np.array(1)})


W = TensorSpec("w", (1,), "float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TensorSpec("", (1,), "float32"), "tensor name ''"),
        (lambda: TensorSpec("w" * 513, (1,), "float32"), "1 to 512 characters"),
        (lambda: TensorSpec("w", (-1,), "float32"), r"shape \(-1,\)"),
        (lambda: TensorSpec("w", (True,), "float32"), r"shape \(True,\)"),
        (lambda: TensorSpec("w", [1], "float32"), r"shape \[1\]"),
        (lambda: TensorSpec("w", (1,), "int32"), "dtype 'int32'"),
        (lambda: Manifest((W, W)), "'w' is listed twice"),
        (lambda: Manifest((W,), scale_bits=31), "scale_bits is 31"),
        (lambda: Manifest((W,), scale_bits=-1), "scale_bits is -1"),
        (lambda: Manifest((W,), scale_bits=1.0), "scale_bits is 1.0"),
        (lambda: Manifest((W,), chunk_values=0), "chunk_values is 0"),
        (lambda: Manifest((W,), version=2), "version is 2, expected 1"),
        (lambda: Manifest((TensorSpec("w", (0,), "float32"),)), "dimension is 0"),
        (lambda: Manifest((TensorSpec("w", (2**30, 2**30), "float32"),)), "dimension is"),
        (lambda: Manifest([W]), "tensors is a list"),
    ],
)
def test_impossible_manifests_are_refused_by_name(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "nested 100000 deep"),
        (b"[]", "found a list, expected an object"),
        (b"{}", "found the keys , expected chunk_values"),
        (
            JSON.replace(b'"version":1', b'"version":1,"extra":0'),
            "found the keys chunk_values, extra",
        ),
        (JSON.replace(b'"version":1', b'"version":2'), "version is 2"),
        (JSON.replace(b'"version":1', b'"version":true'), "version is True"),
        (JSON.replace(b'"scale_bits":20', b'"scale_bits":"20"'), "scale_bits is '20'"),
        (JSON.replace(b'"scale_bits":20', b'"scale_bits":NaN'), "scale_bits is nan"),
        (JSON.replace(b"[2,3]", b"6"), "shape 6"),
        (JSON.replace(b"[2,3]", b"[2,3.0]"), "shape"),
        (JSON.replace(b'"b"', b"7"), "tensor name '7'"),
        (JSON.replace(b'"name":"w",', b""), r"tensors\[0\]: found the keys dtype, shape"),
        (JSON + b"\n", "not canonical"),
        (JSON.replace(b",", b", ", 1), "not canonical"),
        (JSON.replace(b'"scale_bits":20', b'"scale_bits":20,"scale_bits":20'), "not canonical"),
        (JSON.replace(b'"w"', b'"\\u0077"'), "not canonical"),
    ],
)
def test_bytes_that_are_not_a_manifest_are_refused_by_name(data, message):
    with pytest.raises(VerificationError, match=message):
        Manifest.from_json(data)


# --- scales of tensors of their own ---------------------------------------------------------------

SCALED_JSON = (
    b'{"chunk_values":256,"scale_bits":20,"tensors":'
    b'[{"dtype":"float32","name":"w","shape":[2]},'
    b'{"dtype":"float32","name":"v","scale_bits":8,"shape":[1]}],"version":2}'
)
SCALED = Manifest(
    (TensorSpec("w", (2,), "float32"), TensorSpec("v", (1,), "float32", 8)), version=2
)


def test_a_scale_of_its_own_is_in_the_json_of_version_2():
    assert SCALED.to_json() == SCALED_JSON
    assert Manifest.from_json(SCALED_JSON) == SCALED
    assert [SCALED.scale_of(spec) for spec in SCALED.tensors] == [20, 8]
    assert SCALED.scales == {"v": 8}
    assert SCALED.digest() != Manifest(tuple(TensorSpec(*s) for s in _plain(SCALED))).digest()


def _plain(manifest):
    return [(spec.name, spec.shape, spec.dtype) for spec in manifest.tensors]


def test_of_leaves_out_scales_that_say_nothing():
    model = {"w": np.zeros(2, np.float32), "v": np.zeros(1, np.float32), "n": np.array(1)}
    assert Manifest.of(model, scales={"v": 8, "n": 3, "elsewhere": 4}) == SCALED
    assert Manifest.of(model, scales={"v": 20}).version == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"version":2', b'"version":1', "version is 1, expected 2"),
        (b'"scale_bits":8,', b"", "version is 2, expected 1"),
        (
            b'"scale_bits":8',
            b'"scale_bits":20',
            "tensor 'v' has scale_bits 20, expected none where",
        ),
        (b'"scale_bits":8', b'"scale_bits":31', "scale_bits of tensor 'v' is 31, expected an int"),
        (b'"scale_bits":8', b'"scale_bits":8.0', "scale_bits of tensor 'v' is 8.0, expected an"),
        (b'"scale_bits":8', b'"scale_bits":true', "scale_bits of tensor 'v' is True, expected an"),
        (b'"scale_bits":8', b'"scale_bits":null', r"tensors\[1\]: scale_bits is null"),
        (b'"scale_bits":8', b'"scales":8', r"tensors\[1\]: found the keys"),
    ],
)
def test_a_malformed_scale_is_refused(old, new, message):
    assert old in SCALED_JSON
    with pytest.raises(VerificationError, match=message):
        Manifest.from_json(SCALED_JSON.replace(old, new))
