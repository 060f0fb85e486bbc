import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from clients.training.trainer import TrainingSettings, evaluate, train, use_one_thread


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    use_one_thread()
    yield
    torch.set_num_threads(before)


def linear(weight, bias):
    model = nn.Linear(len(weight[0]), len(weight))
    model.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    return model


def network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def examples(count=23):
    rng = np.random.default_rng(2)
    return rng.random((count, 4), dtype=np.float32), rng.integers(0, 3, count)


def digest(model):
    parts = [p.detach().numpy().tobytes() for p in model.parameters()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_one_step_by_hand():
    """Zero weights give even odds: the gradient of the logits is (-1/2, 1/2)."""
    model = linear([[0.0], [0.0]], [0.0, 0.0])
    x, y = np.array([[2.0]], np.float32), np.array([0])
    result = train(model, x, y, TrainingSettings(learning_rate=0.1), seed=1)
    assert model.weight.tolist() == [[pytest.approx(0.1)], [pytest.approx(-0.1)]]
    assert model.bias.tolist() == [pytest.approx(0.05), pytest.approx(-0.05)]
    assert result.loss == pytest.approx(np.log(2))
    assert (result.examples, result.steps) == (1, 1)


def by_hand(optimiser, model, x, y):
    """Three epochs of batches of five, as PyTorch's documentation writes the loop."""
    rng = np.random.Generator(np.random.PCG64(11))
    for _ in range(3):
        order = rng.permutation(23)
        for start in range(0, 23, 5):
            chosen = order[start : start + 5]

            def closure(chosen=chosen):
                optimiser.zero_grad()
                logits = model(torch.from_numpy(x[chosen]))
                loss = nn.functional.cross_entropy(logits, torch.from_numpy(y[chosen]))
                loss.backward()
                return loss

            optimiser.step(closure)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torchs_sgd(momentum, weight_decay):
    x, y = examples()
    settings = TrainingSettings(3, 5, 0.1, momentum, weight_decay)
    ours, theirs = network(), network()
    result = train(ours, x, y, settings, seed=11)
    sgd = torch.optim.SGD(theirs.parameters(), 0.1, momentum=momentum, weight_decay=weight_decay)
    by_hand(sgd, theirs, x, y)
    assert result.steps == 15
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, reference)


def test_sgd_is_its_formula():
    """Roots of models depend on every bit: ``g += wd * w; v = m * v + g; w -= lr * v``."""
    x, y = examples()
    ours, theirs = network(), network()
    train(ours, x, y, TrainingSettings(3, 5, 0.1, 0.9, 0.01), seed=11)
    weights, velocity = list(theirs.parameters()), None
    rng = np.random.Generator(np.random.PCG64(11))
    for _ in range(3):
        order = rng.permutation(23)
        for start in range(0, 23, 5):
            chosen = order[start : start + 5]
            logits = theirs(torch.from_numpy(x[chosen]))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(y[chosen]))
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                decayed = [g.add(w, alpha=0.01) for g, w in zip(gradients, weights, strict=True)]
                if velocity is None:
                    velocity = decayed
                else:
                    velocity = [v.mul(0.9).add(g) for v, g in zip(velocity, decayed, strict=True)]
                for weight, step in zip(weights, velocity, strict=True):
                    weight.add_(step, alpha=-0.1)
    for mine, reference in zip(ours.parameters(), weights, strict=True):
        assert torch.equal(mine, reference)


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        (
            "adam",
            {"betas": [0.5, 0.75], "eps": 1e-3},
            partial(torch.optim.Adam, betas=(0.5, 0.75), eps=1e-3),
        ),
        ("adamw", {"amsgrad": True}, partial(torch.optim.AdamW, amsgrad=True, weight_decay=0.0)),
        ("rmsprop", {"centered": True}, partial(torch.optim.RMSprop, centered=True)),
        ("lbfgs", {"max_iter": 3}, partial(torch.optim.LBFGS, max_iter=3)),
    ],
)
def test_other_optimisers_follow_by_name(name, options, reference):
    x, y = examples()
    settings = TrainingSettings(3, 5, 0.05, optimizer=name, options=options)
    ours, theirs, plain = network(), network(), network()
    train(ours, x, y, settings, seed=11)
    by_hand(reference(theirs.parameters(), lr=0.05), theirs, x, y)
    train(plain, x, y, TrainingSettings(3, 5, 0.05, optimizer=name), seed=11)
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, wanted)
    assert not all(
        torch.equal(mine, other)
        for mine, other in zip(ours.parameters(), plain.parameters(), strict=True)
    )


def test_the_first_loss_of_a_step_is_the_one_that_counts():
    """L-BFGS asks several times in a step."""
    x, y = examples()
    model = network()
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
    settings = TrainingSettings(1, 23, 0.5, optimizer="lbfgs")
    assert train(model, x, y, settings, seed=1).loss == pytest.approx(float(wanted))


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    x, y = examples()
    digests = []
    for seed in (1, 1, 2):
        model = network()
        torch.rand(7)
        np.random.random(7)
        train(model, x, y, TrainingSettings(momentum=0.5), seed)
        digests.append(digest(model))
    assert digests[0] == digests[1] != digests[2]


def test_a_process_that_has_trained_before_gives_the_same_bits_as_a_fresh_one():
    code = """
import hashlib, numpy as np, torch
from torch import nn
from clients.training.trainer import TrainingSettings, train, use_one_thread
use_one_thread()
torch.manual_seed(5)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
rng = np.random.default_rng(2)
x, y = rng.random((23, 4), dtype=np.float32), rng.integers(0, 3, 23)
train(model, x, y, TrainingSettings(momentum=0.5), 1)
parts = [p.detach().numpy().tobytes() for p in model.parameters()]
print(hashlib.sha256(b"".join(parts)).hexdigest())
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    x, y = examples()
    train(network(), x, y, TrainingSettings(), 3)
    model = network()
    train(model, x, y, TrainingSettings(momentum=0.5), 1)
    assert out.stdout.strip() == digest(model)


def test_a_loss_of_another_name_is_trained_on():
    x, y = examples()
    models = [network() for _ in range(3)]
    plain = TrainingSettings(epochs=2)
    train(models[0], x, y, plain, 1)
    train(models[1], x, y, replace(plain, loss_options={"label_smoothing": 0.0}), 1)
    train(models[2], x, y, replace(plain, loss="multi_margin_loss"), 1)
    assert digest(models[0]) == digest(models[1]) != digest(models[2])
    by_hand = network()
    rate, order = plain.learning_rate, np.random.Generator(np.random.PCG64(1)).permutation(23)
    one = replace(plain, epochs=1, batch_size=23, loss="multi_margin_loss")
    train(by_hand, x, y, one, 1)
    expected = network()
    loss = nn.functional.multi_margin_loss(
        expected(torch.from_numpy(x[order])), torch.from_numpy(y[order])
    )
    loss.backward()
    for one_by_hand, parameter in zip(by_hand.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one_by_hand, parameter - rate * parameter.grad)


def test_inputs_are_not_modified():
    x, y = examples()
    kept_x, kept_y = x.copy(), y.copy()
    train(network(), x, y, TrainingSettings(epochs=2), 1)
    np.testing.assert_array_equal(x, kept_x)
    np.testing.assert_array_equal(y, kept_y)


@pytest.mark.parametrize(
    ("max_steps", "steps"), [(None, 10), (1, 1), (5, 5), (7, 7), (10, 10), (99, 10)]
)
def test_max_steps_ends_training(max_steps, steps):
    x, y = examples()
    settings = TrainingSettings(epochs=2, batch_size=5, max_steps=max_steps)
    assert train(network(), x, y, settings, 1).steps == steps


def test_the_loss_is_over_the_examples_seen():
    x, y = examples(4)
    model = network()
    with torch.inference_mode():
        each = nn.functional.cross_entropy(
            model(torch.from_numpy(x)), torch.from_numpy(y), reduction="none"
        ).numpy()
    order = np.random.Generator(np.random.PCG64(1)).permutation(4)
    # so small a rate that the weights stay
    settings = TrainingSettings(batch_size=3, learning_rate=1e-12, max_steps=1)
    assert train(model, x, y, settings, 1).loss == pytest.approx(each[order[:3]].mean(), rel=1e-5)
    assert train(model, x, y, TrainingSettings(2, 3, 1e-12), 1).loss == pytest.approx(
        each.mean(), rel=1e-5
    )


def test_training_learns():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((200, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    model = network()
    before = evaluate(model, x, y)
    result = train(model, x, y, TrainingSettings(epochs=20, learning_rate=0.2), 1)
    after = evaluate(model, x, y)
    assert after[0] < before[0] / 2
    assert after[1] >= 190
    assert np.isfinite(result.loss)


def test_divergence_is_told_not_hidden():
    x, y = examples()
    result = train(network(), 1e18 * x, y, TrainingSettings(epochs=5, learning_rate=1e18), 1)
    assert not np.isfinite(result.loss)


def test_evaluate_by_hand():
    model = linear([[0.0], [1.0]], [0.0, 0.0])
    x = np.array([[0.0], [np.log(3.0)], [-1.0]], np.float32)
    # logits (0, 0): even, the first class wins; (0, ln 3): 1/4 and 3/4; (0, -1)
    loss, correct = evaluate(model, x, np.array([0, 0, 0]))
    expected = (np.log(2) + np.log(4) + np.log(1 + np.exp(-1))) / 3
    assert loss == pytest.approx(expected, rel=1e-6)
    assert correct == 2


def test_evaluate_in_batches_is_the_same_as_at_once():
    rng = np.random.default_rng(4)
    x, y = rng.random((2500, 4), dtype=np.float32), rng.integers(0, 3, 2500)
    model = network()
    loss, correct = evaluate(model, x, y)
    with torch.inference_mode():
        logits = model(torch.from_numpy(x))
    at_once = nn.functional.cross_entropy(logits, torch.from_numpy(y))
    assert loss == pytest.approx(float(at_once), rel=1e-5)
    assert correct == int((logits.argmax(1) == torch.from_numpy(y)).sum())


@pytest.mark.parametrize(("features", "labels"), [(0, 0), (3, 2)])
def test_no_examples_or_too_few_labels_are_refused(features, labels):
    x, y = np.zeros((features, 4), np.float32), np.zeros(labels, np.int64)
    message = f"{features} examples and {labels} labels; expected as many, not 0"
    with pytest.raises(ValueError, match=message):
        train(network(), x, y, TrainingSettings(), 1)
    with pytest.raises(ValueError, match=message):
        evaluate(network(), x, y)
