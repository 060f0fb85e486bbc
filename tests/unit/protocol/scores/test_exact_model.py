"""Models in integers: by hand, against big integers, against torch, and at the edges."""

import numpy as np
import pytest
import torch
from histories import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores import (
    Architecture,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2,
    Relu,
    correct,
    logits,
    utility,
)
from coordinator.protocol.scores.exact_model import (
    ACTIVATION_LIMIT,
    UnboundedModelError,
    _split_product,
    margins,
)

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_linear_by_hand_rounds_halves_up():
    # 4 bits of scale, 8 of activation: (w0*x0 + w1*x1 + b*256 + 8) >> 4
    model = Architecture((Linear(2, 2),), (2,), 4, 8)
    found = logits(model, int32(8, 0, 0, -8, 1, 0), np.array([[1, 3], [-1, -3]], np.int32))
    # (8 + 256 + 8) >> 4 = 17, (-24 + 8) >> 4 = -1; (-8 + 256 + 8) >> 4 = 16, (24 + 8) >> 4 = 2
    assert found.tolist() == [[17, -1], [16, 2]]
    assert found.dtype == np.int64


def test_mlp_by_hand():
    layers = (Linear(1, 2, bias=False), Relu(), Linear(2, 1))
    model = Architecture(layers, (1,), 4, 8)
    parameters = int32(16, -16, 32, 48, 1)
    # x = 5: relu(5, -5) = (5, 0); 2*5 + 3*0 + 1/16*256 = 26.  x = -7: (0, 7): 21 + 16 = 37
    assert logits(model, parameters, np.array([[5], [-7]], np.int32)).tolist() == [[26], [37]]


def test_convolution_by_hand_is_a_cross_correlation_with_padding():
    layers = (Conv2d(1, 1, 2, padding=1, bias=True), Flatten(), Linear(9, 1, bias=False))
    convolution = Architecture((*layers[:2],), (1, 2, 2), 4, 8)
    image = np.array([[[[1, 2], [3, 4]]]], np.int32) * 16
    kernel = [1, 2, 3, 4]
    found = logits(convolution, int32(*kernel, 1), image)
    # padded by a ring of zeros; value = sum(kernel * window) + 16
    expected = [4, 11, 6, 14, 30, 14, 6, 11, 4]
    assert found.tolist() == [[value + 16 for value in expected]]


def test_pooling_by_hand_drops_an_odd_edge():
    model = Architecture((MaxPool2(), Flatten()), (1, 3, 5), 4, 8)
    image = np.arange(15, dtype=np.int32).reshape(1, 1, 3, 5)
    assert logits(model, int32(), image).tolist() == [[6, 8]]
    assert logits(model, int32(), -image).tolist() == [[0, -2]]


def oracle(model: Architecture, parameters: list[int], sample: list[int]) -> list[int]:
    """Evaluate linear and ReLU layers in Python's integers."""
    values, taken = sample, 0
    for layer in model.layers:
        if isinstance(layer, Relu):
            values = [max(value, 0) for value in values]
            continue
        weights = parameters[taken : taken + layer.outputs * layer.inputs]
        biases = parameters[taken + len(weights) : taken + layer.parameters()]
        taken += layer.parameters()
        sums = []
        for row in range(layer.outputs):
            own = weights[row * layer.inputs : (row + 1) * layer.inputs]
            total = sum(w * x for w, x in zip(own, values, strict=True))
            total += (biases[row] << model.activation_bits) if layer.bias else 0
            half = 1 << (model.scale_bits - 1)
            rounded = (total + half) >> model.scale_bits
            sums.append(max(-ACTIVATION_LIMIT, min(ACTIVATION_LIMIT, rounded)))
        values = sums
    return values


magnitudes = st.sampled_from([1 << 4, 1 << 12, 1 << 20, 1 << 26, 1 << 29])


@given(magnitudes, magnitudes, st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=examples(150), deadline=None)
def test_every_size_of_value_equals_the_big_integer_oracle(weights, inputs, seed, bias):
    rng = np.random.default_rng(seed)
    model = Architecture((Linear(3, 4, bias), Relu(), Linear(4, 2)), (3,), 20, 12)
    parameters = rng.integers(-weights, weights, model.dimension, endpoint=True).astype(np.int32)
    samples = rng.integers(-inputs, inputs, (5, 3), endpoint=True).astype(np.int32)
    expected = [oracle(model, parameters.tolist(), sample) for sample in samples.tolist()]
    assert logits(model, parameters, samples).tolist() == expected


def test_split_product_is_exact_where_one_product_is_not():
    weight = np.array([[HIGHEST, 6, 1], [-5, 7, 11]], np.int64)
    columns = np.array([[HIGHEST], [LOWEST], [3]], np.int64)
    expected = [
        [sum(w * x for w, x in zip(row, columns[:, 0].tolist(), strict=True))]
        for row in weight.tolist()
    ]
    assert _split_product(weight, columns).tolist() == expected
    assert (weight.astype(float) @ columns.astype(float)).astype(np.int64).tolist() != expected


def test_convolution_of_large_values_is_split_too():
    rng = np.random.default_rng(2)
    model = Architecture((Conv2d(2, 3, 3, padding=1), Flatten()), (2, 4, 5), 30, 12)
    parameters = rng.integers(-(1 << 30), 1 << 30, model.dimension).astype(np.int32)
    images = rng.integers(-(1 << 26), 1 << 26, (2, 2, 4, 5)).astype(np.int32)
    kernels = parameters[:54].reshape(3, 2, 3, 3).astype(object)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(object)
    found = logits(model, parameters, images).reshape(2, 3, 4, 5)
    for sample, channel, row, column in np.ndindex(2, 3, 4, 5):
        window = padded[sample, :, row : row + 3, column : column + 3]
        total = (window * kernels[channel]).sum() + (int(parameters[54 + channel]) << 12)
        assert found[sample, channel, row, column] == (total + (1 << 29)) >> 30


def test_order_of_samples_and_batching_do_not_matter():
    rng = np.random.default_rng(0)
    layers = (Conv2d(1, 4, 3, padding=1), Relu(), MaxPool2(), Flatten(), Linear(64, 10))
    model = Architecture(layers, (1, 8, 8))
    parameters = rng.integers(-(1 << 20), 1 << 20, model.dimension).astype(np.int32)
    images = rng.integers(0, 1 << 12, (33, 1, 8, 8)).astype(np.int32)
    together = logits(model, parameters, images)
    assert np.array_equal(logits(model, parameters, images[::-1])[::-1], together)
    assert np.array_equal(np.vstack([logits(model, parameters, x[None]) for x in images]), together)


def test_agrees_with_torch_within_rounding():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(3, 5, 2, bias=False),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(5 * 2 * 3, 7),
        torch.nn.ReLU(),
        torch.nn.Linear(7, 4),
    )
    layers = (
        Conv2d(2, 3, 3, padding=1),
        Relu(),
        MaxPool2(),
        Conv2d(3, 5, 2, bias=False),
        Relu(),
        Flatten(),
        Linear(30, 7),
        Relu(),
        Linear(7, 4),
    )
    model = Architecture(layers, (2, 7, 8))
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in module.state_dict().values()])
    parameters = np.rint(flat.numpy() * 2.0**20).astype(np.int32)
    images = np.random.default_rng(1).normal(size=(20, 2, 7, 8)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    found = logits(model, parameters, np.rint(images * 2.0**12).astype(np.int32)) / 2.0**12
    assert np.abs(found - expected).max() < 0.002
    assert np.abs(expected).max() > 0.1


def test_activations_saturate_on_both_sides():
    model = Architecture((Linear(1, 2, bias=False),), (1,), 4, 8)
    found = logits(model, int32(1 << 20, -(1 << 20)), int32(1 << 30)[:, None])
    assert found.tolist() == [[ACTIVATION_LIMIT, -ACTIVATION_LIMIT]]


def test_model_beyond_62_bits_is_worth_the_least_and_raises_nothing_outside():
    model = Architecture((Linear(4, 2, bias=False),), (4,), 20, 12)
    parameters = np.full(8, HIGHEST, np.int32)
    inputs = np.full((3, 4), HIGHEST, np.int32)
    labels = np.zeros(3, np.int64)
    with pytest.raises(UnboundedModelError, match="a layer's sums could reach"):
        logits(model, parameters, inputs)
    assert utility(model, parameters, inputs, labels) == -4 * 4096 * 3
    assert correct(model, parameters, inputs, labels) == 0
    assert utility(model, parameters // 4, inputs // 4, labels) == 0


def test_utility_is_a_clamped_margin_and_correct_counts():
    model = Architecture((Linear(3, 3, bias=False),), (3,), 4, 8)
    identity = int32(16, 0, 0, 0, 16, 0, 0, 0, 16)
    inputs = np.array([[100, 40, 90], [5000, 0, 1], [7, 7, 3], [0, 9, 2]], np.int32)
    labels = np.array([0, 1, 1, 0])
    assert margins(model, identity, inputs, labels).tolist() == [10, -5000, 0, -9]
    assert utility(model, identity, inputs, labels) == 10 - 1024 + 0 - 9
    # the tie of sample 2 goes to class 0, its label is 1
    assert correct(model, identity, inputs, labels) == 1
    assert correct(model, identity, inputs, np.array([0, 0, 0, 1])) == 4


def test_single_logit_is_a_binary_model():
    model = Architecture((Linear(1, 1, bias=False),), (1,), 4, 8)
    inputs = np.array([[30], [-20], [0]], np.int32)
    labels = np.array([1, 1, 0])
    assert margins(model, int32(16), inputs, labels).tolist() == [30, -20, 0]
    assert correct(model, int32(16), inputs, labels) == 2


def test_inputs_are_not_modified():
    model = Architecture((Relu(), Linear(2, 2)), (2,), 4, 8)
    parameters, inputs = int32(1, 2, 3, 4, 5, 6), np.array([[-5, 5]], np.int32)
    logits(model, parameters, inputs)
    assert (parameters.tolist(), inputs.tolist()) == ([1, 2, 3, 4, 5, 6], [[-5, 5]])


LINEAR = Architecture((Linear(2, 2),), (2,), 4, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: logits(LINEAR, int32(1), np.zeros((1, 2), np.int32)),
            r"expected int32 of shape \(6,\)",
        ),
        (lambda: logits(LINEAR, np.zeros(6), np.zeros((1, 2), np.int32)), "model is float64"),
        (lambda: logits(LINEAR, int32(*range(6)), np.zeros((1, 3), np.int32)), r"shape \(1, 3\)"),
        (lambda: logits(LINEAR, int32(*range(6)), np.zeros((1, 2))), "inputs are float64"),
        (
            lambda: utility(LINEAR, int32(*range(6)), np.zeros((1, 2), np.int32), np.array([2])),
            "labels span 2 to 2, expected 0 to 1",
        ),
        (
            lambda: utility(LINEAR, int32(*range(6)), np.zeros((1, 2), np.int32), np.array([1, 1])),
            r"labels have shape \(2,\), expected \(1,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
