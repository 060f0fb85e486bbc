"""Torch modules of one's own as models: made, tried, shared in part, described where possible."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clients.training.trainer import TrainingSettings, train
from coordinator.models.architecture import module_architecture
from coordinator.models.build import build_model, integer_architecture, try_own_model
from coordinator.models.shared import SharedModel
from coordinator.protocol.errors import ConfigError, OutsideCodeError
from coordinator.protocol.scores.architecture import Conv2d, Flatten, Linear, MaxPool2, Relu
from coordinator.protocol.scores.exact_model import logits
from coordinator.settings.models.python import PythonModel

SHAPE, CLASSES = (1, 8, 8), 10

MODULE = '''
import random

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    """Batch norm, and a layer whose size follows from the first examples."""

    def __init__(self, num_classes, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.conv(x))).flatten(1))


def drawn():
    """Values from each of the generators that user code draws from."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        net[1].bias[0] = random.random()
        net[1].bias[1] = float(np.random.rand())
    return net


def sequence(stride=1):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, stride=stride), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.LazyLinear(10),
    )


def frozen():
    net = drawn()
    return net.requires_grad_(False)


def brain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(torch.bfloat16)


class Fails(nn.Module):
    def __init__(self, error="forward"):
        super().__init__()
        if error == "init":
            raise KeyError("no width")
        self.error, self.layer = error, nn.Linear(64, 10)

    def forward(self, x):
        found = self.layer(x.flatten(1))
        if self.error == "forward" or (self.error == "train" and self.training):
            raise RuntimeError("somewhere\\nin here")
        return {"tuple": (found,), "argmax": found.argmax(1), "detach": found.detach()}.get(
            self.error, found
        )


count = 0


def counter():
    global count
    count += 1
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(net[1].bias, count)
    return net


def table():
    return {"weight": 1}
'''


@pytest.fixture(autouse=True, scope="module")
def my_nets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("nets")
    (folder / "my_nets.py").write_text(MODULE)
    (folder / "broken_nets.py").write_text("import torch\n\n1 / 0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def python(function: str, **options: Any) -> PythonModel:
    return PythonModel(function=function, options=options)


def made(function: str, seed: int = 1, **options: Any) -> SharedModel:
    rng = np.random.Generator(np.random.PCG64(seed))
    return build_model(python(function, **options), SHAPE, CLASSES, rng)


def test_a_module_gets_the_options_and_what_it_asks_for() -> None:
    model = made("my_nets:Net", width=3)
    assert [(name, tuple(t.shape)) for name, t in model.state().items()] == [
        ("conv.weight", (3, 1, 3, 3)),
        ("conv.bias", (3,)),
        ("norm.weight", (3,)),
        ("norm.bias", (3,)),
        ("norm.running_mean", (3,)),
        ("norm.running_var", (3,)),
        ("norm.num_batches_tracked", ()),
        ("out.weight", (10, 3 * 36)),
        ("out.bias", (10,)),
    ]
    assert model.statistics == ("norm.running_mean", "norm.running_var")


def test_trying_a_module_does_not_move_its_statistics() -> None:
    model = made("my_nets:Net")
    assert model.state()["norm.running_mean"].abs().max() == 0
    assert int(model.state()["norm.num_batches_tracked"]) == 0


def test_values_follow_from_the_seed_alone() -> None:
    one = made("my_nets:drawn", seed=5).arrays()
    torch.manual_seed(9)
    np.random.seed(9)
    before = torch.get_rng_state(), np.random.get_state()[1][:3]  # type: ignore[index]
    two, three = made("my_nets:drawn", seed=5).arrays(), made("my_nets:drawn", seed=6).arrays()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1][:3], before[1])  # type: ignore[index]
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["1.weight"], three["1.weight"])
    assert all(one["1.bias"][k] != three["1.bias"][k] for k in (0, 1))


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("no_nets:Net", {}, "module no_nets cannot be imported: No module named 'no_nets'"),
        ("broken_nets:Net", {}, "ZeroDivisionError: division by zero (broken_nets.py, line 3)"),
        ("my_nets:Ne", {}, 'module my_nets has no "Ne"; did you mean "my_nets:Net"?'),
        ("my_nets:count", {}, "found int, expected a function or a class that returns a torch.nn"),
        ("my_nets:table", {}, "returned a dict, expected a torch.nn.Module"),
        ("my_nets:Net", {"widht": 2}, "cannot be called with model.options ['widht']"),
        ("my_nets:Fails", {"error": "init"}, "raised KeyError: 'no width' (my_nets.py, line"),
        ("my_nets:Fails", {}, "(1, 8, 8) to evaluate it raised RuntimeError: somewhere in here"),
        ("my_nets:Fails", {"error": "tuple"}, "returned a tuple, expected a tensor of logits"),
        ("my_nets:Fails", {"error": "argmax"}, "returned int64 of shape (2,), expected logits of"),
        ("torch.nn:Flatten", {}, "returned float32 of shape (2, 64), expected logits of shape"),
        ("my_nets:frozen", {}, "no parameter of the module is trained; expected at least one"),
    ],
)
def test_what_is_no_model_is_refused(function: str, options: Any, message: str) -> None:
    with pytest.raises(OutsideCodeError) as refused:
        made(function, **options)
    text = str(refused.value)
    assert text.startswith(f'model.function = "{function}"')
    assert message in text
    assert "\n" not in text


def test_a_dtype_that_cannot_be_committed_to_is_refused() -> None:
    with pytest.raises(OutsideCodeError, match=r"'1\.weight' has dtype bfloat16, expec"):
        SharedModel(nn.Sequential(nn.Flatten(), nn.Linear(3, 2, dtype=torch.bfloat16)), "it")


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("my_nets:counter", {}, "called twice it gave different values of '1.bias'"),
        ("my_nets:Fails", {"error": "train"}, "to train on it raised RuntimeError: somewhere in"),
        ("my_nets:Fails", {"error": "detach"}, "its logits have no gradient"),
    ],
)
def test_a_trial_shows_what_a_build_does_not(function: str, options: Any, message: str) -> None:
    with pytest.raises(OutsideCodeError) as refused:
        try_own_model(
            python(function, **options), lambda: made(function, **options), SHAPE, CLASSES
        )
    assert message in str(refused.value)


def test_a_good_module_passes_its_trial() -> None:
    for function in ("my_nets:Net", "my_nets:drawn"):
        try_own_model(python(function), lambda name=function: made(name), SHAPE, CLASSES)


# --- what is shared ----------------------------------------------------------------------------


def adapted() -> nn.Sequential:
    """A frozen base with its own batch norm, and a trained adapter with one."""
    base = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).requires_grad_(False)
    return nn.Sequential(base, nn.Linear(3, 3), nn.BatchNorm1d(3))


def test_what_is_frozen_is_not_shared() -> None:
    model = SharedModel(adapted())
    assert list(model.state()) == [
        "1.weight",
        "1.bias",
        "2.weight",
        "2.bias",
        "2.running_mean",
        "2.running_var",
        "2.num_batches_tracked",
    ]
    assert model.frozen == (
        "0.0.weight",
        "0.0.bias",
        "0.1.weight",
        "0.1.bias",
        "0.1.running_mean",
        "0.1.running_var",
        "0.1.num_batches_tracked",
    )


def test_loading_puts_back_what_training_moved_besides() -> None:
    """Each round starts from the received model, wherever the module was trained before."""
    model = SharedModel(adapted())
    x = np.random.default_rng(1).normal(3.0, 2.0, (12, 4)).astype(np.float32)
    y = np.arange(12) % 3
    received = {name: array.copy() for name, array in model.arrays().items()}
    floats = {name: a for name, a in received.items() if a.dtype.kind == "f"}

    def trained() -> dict[str, np.ndarray]:
        model.load(floats)
        train(model.module, x, y, TrainingSettings(epochs=2, batch_size=5), seed=3)
        return {name: array.copy() for name, array in model.arrays().items()}

    first, second = trained(), trained()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["2.running_mean"], received["2.running_mean"])
    assert int(first["2.num_batches_tracked"]) == 6  # three batches of 12 examples, twice
    model.load({**floats, "2.num_batches_tracked": np.array(40)})
    assert int(model.state()["2.num_batches_tracked"]) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("1.bias"), "lacks the tensor '1.bias' of my net"),
        (lambda m: m.update(extra=np.zeros(1, np.float32)), "has a tensor 'extra', my net none"),
        (
            lambda m: m.update({"0.0.bias": np.zeros(3, np.float32)}),
            "has a tensor '0.0.bias', my net none",
        ),
        (
            lambda m: m.update({"1.bias": np.zeros(4, np.float32)}),
            "'1.bias' with shape (4,) and dtype float32, my net has it with shape (3,) and dtype",
        ),
        (lambda m: m.update({"1.bias": np.zeros(3)}), "and dtype float64, my net has it with"),
    ],
)
def test_another_model_is_not_loaded(change: Any, message: str) -> None:
    model = SharedModel(adapted(), "my net")
    received = dict(model.arrays())
    change(received)
    with pytest.raises(ConfigError) as refused:
        model.load(received)
    assert message in str(refused.value)


# --- batch norm --------------------------------------------------------------------------------


def test_a_single_example_that_is_left_over_is_left_out_with_batch_norm() -> None:
    x, y = np.ones((5, 4), np.float32), np.zeros(5, np.int64)
    x[4] = 9
    net = adapted()
    result = train(net, x, y, TrainingSettings(batch_size=2), seed=0)
    assert (result.examples, result.steps) == (5, 2)
    plain = train(nn.Linear(4, 3), x, y, TrainingSettings(batch_size=2), seed=0)
    assert plain.steps == 3


@pytest.mark.parametrize(("examples", "batch"), [(1, 8), (5, 1)])
def test_batch_norm_needs_two_examples(examples: int, batch: int) -> None:
    x, y = np.ones((examples, 4), np.float32), np.zeros(examples, np.int64)
    with pytest.raises(ValueError, match="batch norm needs at least 2 in a batch"):
        train(adapted(), x, y, TrainingSettings(batch_size=batch), seed=0)


# --- what a module draws -----------------------------------------------------------------------


def test_dropout_follows_from_the_seed_alone() -> None:
    """A participant that is asked again signs the same update; so do simulated colluders."""
    x = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    y = np.arange(8) % 3
    net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    settings = TrainingSettings(batch_size=8, epochs=3)

    def trained(seed: int) -> torch.Tensor:
        torch.rand(3)
        own = copy.deepcopy(net)
        before = torch.get_rng_state()
        train(own, x, y, settings, seed)
        assert torch.equal(torch.get_rng_state(), before)
        return torch.cat([parameter.flatten() for parameter in own.parameters()])

    one, two, three = trained(5), trained(5), trained(6)
    assert torch.equal(one, two)
    assert not torch.allclose(one, three)


# --- what integers repeat ----------------------------------------------------------------------


def test_a_sequence_of_layers_is_described() -> None:
    model = made("my_nets:sequence")
    config = python("my_nets:sequence")
    described = integer_architecture(config, model, SHAPE, CLASSES, 20, "leave_one_out")
    assert described.layers == (
        Conv2d(1, 3, 3, padding=1),
        Relu(),
        MaxPool2(),
        Flatten(),
        Linear(48, 10),
    )
    x = np.random.default_rng(1).random((6, *SHAPE), dtype=np.float32)
    model.module.eval()
    with torch.inference_mode():
        expected = model.module(torch.from_numpy(x)).numpy()
    flat = np.concatenate([array.ravel() for array in model.arrays().values()])
    vector = np.rint(flat * 2**20).astype(np.int32)
    found = logits(described, vector, np.rint(x * 2**12).astype(np.int32)) / 2**12
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("my_nets:Net", {}, "the module is Net, integers repeat only a torch.nn.Sequential of"),
        ("my_nets:sequence", {"stride": 2}, "its layer 0 is Conv2d(1, 3, kernel_size=(3, 3), str"),
    ],
)
def test_what_integers_do_not_repeat_is_said(function: str, options: Any, message: str) -> None:
    model = made(function, **options)
    config = python(function, **options)
    with pytest.raises(OutsideCodeError) as refused:
        integer_architecture(config, model, SHAPE, CLASSES, 20, "leave_one_out")
    text = str(refused.value)
    assert text.startswith('scoring.kind = "leave_one_out" evaluates the model in integers, which')
    assert message in text
    assert 'use scoring.kind = "examples", a score of your own ("module:NAME")' in text


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, (3, 1)),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=(1, 0)),
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(0),
        nn.GELU(),
    ],
)
def test_a_layer_with_other_options_is_not_taken_for_ours(layer: nn.Module) -> None:
    with pytest.raises(ConfigError, match="its layer 0 is"):
        module_architecture(nn.Sequential(layer), SHAPE, 20)


def test_a_layer_that_is_there_twice_is_described_twice() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), relu, nn.Linear(5, 5), relu)
    assert module_architecture(net, SHAPE, 20).layers == (
        Flatten(),
        Linear(64, 5),
        Relu(),
        Linear(5, 5),
        Relu(),
    )


def test_tied_and_frozen_layers_are_not_described() -> None:
    tied = nn.Linear(64, 64)
    net = nn.Sequential(nn.Flatten(), tied, tied, nn.Linear(64, 10))
    half = nn.Sequential(nn.Flatten(), nn.Linear(64, 64).requires_grad_(False), nn.Linear(64, 10))
    for module in (half, net):
        with pytest.raises(ConfigError, match="parameters are frozen or shared by layers"):
            integer_architecture(python("a:b"), SharedModel(module), SHAPE, CLASSES, 20, "x")
