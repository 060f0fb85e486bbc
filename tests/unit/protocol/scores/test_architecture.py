"""The description of a model: what it counts, how it is written, what it refuses."""

import json

import pytest

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores import Architecture, Conv2d, Flatten, Linear, MaxPool2, Relu

CNN = Architecture(
    (Conv2d(1, 8, 3, padding=1), Relu(), MaxPool2(), Flatten(), Linear(128, 10, bias=False)),
    (1, 8, 8),
    scale_bits=16,
    activation_bits=10,
)


def test_dimension_counts_weights_and_biases():
    assert CNN.dimension == 8 * 9 + 8 + 1280
    assert Architecture((Linear(30, 2),), (30,)).dimension == 62


def test_json_is_canonical_and_comes_back():
    text = CNN.to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert Architecture.from_json(text) == CNN
    assert '{"bias":true,"inputs":1,"kernel":3,"kind":"conv2d","outputs":8,"padding":1}' in text


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ((), (4,), "no layers"),
        ((Linear(5, 2),), (4,), r"linear receives samples of shape \(4,\), expected \(5,\)"),
        ((Linear(64, 2),), (1, 8, 8), r"linear receives samples of shape \(1, 8, 8\)"),
        ((Conv2d(2, 1, 3), Flatten()), (1, 8, 8), "conv2d receives"),
        ((Conv2d(1, 1, 9), Flatten()), (1, 8, 8), "conv2d receives"),
        ((MaxPool2(), Flatten()), (1, 1, 8), "maxpool2 receives"),
        ((MaxPool2(), Flatten()), (8,), "maxpool2 receives"),
        ((Relu(),), (1, 8, 8), r"ends in shape \(1, 8, 8\), expected one axis"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, shape, message):
    with pytest.raises(ConfigError, match=message):
        Architecture(layers, shape)


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ({"scale_bits": 0}, "scale_bits is 0, expected 1 to 30"),
        ({"scale_bits": 31}, "scale_bits is 31"),
        ({"activation_bits": 7}, "activation_bits is 7, expected 8 to 12"),
        ({"activation_bits": 13}, "activation_bits is 13"),
    ],
)
def test_bits_out_of_range_are_refused(bits, message):
    with pytest.raises(ConfigError, match=message):
        Architecture((Linear(1, 1),), (1,), **bits)


def altered(**changes) -> str:
    return json.dumps({**json.loads(CNN.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "architecture: not JSON"),
        ("[]", "architecture has keys list"),
        (altered(extra=1), "architecture has keys"),
        (altered(layers={}), "must be lists"),
        (altered(layers=[{"kind": "lstm"}]), "layer .* is unknown, expected one of"),
        (altered(layers=[{"kind": "linear", "inputs": 2}]), "layer linear has keys"),
        (
            altered(layers=[{"kind": "linear", "inputs": 2, "outputs": 0, "bias": True}]),
            "linear outputs is 0, expected an integer >= 1",
        ),
        (
            altered(layers=[{"kind": "linear", "inputs": 2, "outputs": True, "bias": True}]),
            "linear outputs is True",
        ),
        (
            altered(layers=[{"kind": "linear", "inputs": 2, "outputs": 2, "bias": 1}]),
            "linear bias is 1, expected true or false",
        ),
        (altered(input_shape=[1, 8, "8"]), "input_shape is '8'"),
        (altered(scale_bits=20.0), "scale_bits is 20.0"),
    ],
)
def test_documents_that_describe_no_model_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        Architecture.from_json(text)
