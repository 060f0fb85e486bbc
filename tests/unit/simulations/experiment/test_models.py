import numpy as np
import pytest
import torch

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Conv2d, Flatten, Linear, MaxPool2, Relu
from coordinator.protocol.scores.exact_model import logits
from simulations.experiment import CnnModel, LogisticModel, MlpModel, Training
from simulations.experiment.models import architecture, build_model, training_settings

IMAGE = (1, 8, 8)


def test_architectures_by_hand():
    assert architecture(LogisticModel(), (30,), 2).layers == (Linear(30, 2),)
    assert architecture(MlpModel(hidden=[5, 4]), IMAGE, 3).layers == (
        Flatten(),
        Linear(64, 5),
        Relu(),
        Linear(5, 4),
        Relu(),
        Linear(4, 3),
    )
    found = architecture(CnnModel(channels=[2, 6]), (3, 9, 13), 10, scale_bits=16)
    assert found.layers == (
        Conv2d(3, 2, 3, padding=1),
        Relu(),
        MaxPool2(),
        Conv2d(2, 6, 3, padding=1),
        Relu(),
        MaxPool2(),
        Flatten(),
        Linear(6 * 2 * 3, 10),
    )
    assert found.scale_bits == 16


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LogisticModel(), (30,)),
        (MlpModel(hidden=[7]), IMAGE),
        (CnnModel(channels=[3, 5]), (1, 9, 11)),
    ],
)
def test_integers_repeat_what_torch_computes(config, shape):
    """Parameters in the order of the state dict give the same logits in fixed point."""
    model = build_model(config, shape, 4, 7).module
    described = architecture(config, shape, 4)
    flat = np.concatenate([p.numpy().ravel() for p in model.state_dict().values()])
    assert flat.shape == (described.dimension,)
    x = np.random.default_rng(1).random((6, *shape), dtype=np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    vector = np.rint(flat * 2**20).astype(np.int32)
    found = logits(described, vector, np.rint(x * 2**12).astype(np.int32)) / 2**12
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_parameters_have_telling_names():
    model = build_model(CnnModel(channels=[2]), IMAGE, 10, 1)
    assert list(model.state()) == [
        "conv1.weight",
        "conv1.bias",
        "linear1.weight",
        "linear1.bias",
    ]


def test_initial_weights_depend_on_the_seed_alone():
    first = build_model(MlpModel(), IMAGE, 10, 7).state()
    torch.manual_seed(99)
    torch.rand(5)
    again = build_model(MlpModel(), IMAGE, 10, 7).state()
    other = build_model(MlpModel(), IMAGE, 10, 8).state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    build_model(CnnModel(), IMAGE, 10, 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_fill_their_range():
    weight = build_model(MlpModel(hidden=[256]), IMAGE, 10, 7).state()["linear1.weight"]
    assert weight.dtype == torch.float32
    assert 0.124 < float(weight.abs().max()) <= 1 / 8
    assert abs(float(weight.mean())) < 0.005


@pytest.mark.parametrize(
    ("channels", "shape", "message"),
    [
        ([4], (30,), 'model.kind = "cnn" needs images of shape'),
        (
            [4] * 4,
            IMAGE,
            "model.channels has 4 layers that each halve the image, too many for images of 8x8",
        ),
    ],
)
def test_a_cnn_needs_images_that_are_large_enough(channels, shape, message):
    with pytest.raises(ConfigError) as caught:
        build_model(CnnModel(channels=channels), shape, 10, 1)
    assert str(caught.value).startswith(message)


def test_three_halvings_of_eight_pixels_are_enough():
    model = build_model(CnnModel(channels=[1, 1, 2]), IMAGE, 10, 1).module
    assert model(torch.zeros(2, *IMAGE)).shape == (2, 10)


def test_training_settings():
    settings = training_settings(Training(epochs=3, max_steps=7))
    assert (settings.epochs, settings.max_steps) == (3, 7)
    assert training_settings(Training()).max_steps is None
