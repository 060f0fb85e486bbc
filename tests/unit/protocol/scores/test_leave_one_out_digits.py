"""Leave-one-out on real handwritten digits: honest work earns, free riders earn exactly nothing."""

import hashlib

import numpy as np
import pytest
from histories import FUZZ
from sklearn.datasets import load_digits

from coordinator.protocol.rules import apply_step, weighted_mean
from coordinator.protocol.scores import (
    Architecture,
    Linear,
    Relu,
    ScoringRound,
    correct,
    leave_one_out,
    utility,
)
from coordinator.protocol.types import WEIGHT_TOTAL, Rule

HIDDEN, HONEST, ROUNDS, EVALUATION = 64, 16, 6, 500
MODEL = Architecture((Linear(64, HIDDEN), Relu(), Linear(HIDDEN, 10)), (64,))
SPLIT = 64 * HIDDEN, 65 * HIDDEN, 65 * HIDDEN + 10 * HIDDEN
ONE = 1 << 20
RULE = Rule(1, 1, 1, 0, 1 << 20, 1 << 16, 0, bytes(32), MODEL.dimension, 256, 20, 1, 0, bytes(32))
RIDERS = (
    "zero",
    "noise",
    "noise in the last layer",
    "copy",
    "scaled copy",
    "last step",
    "scaled model",
)


def train(model: np.ndarray, images: np.ndarray, labels: np.ndarray, rng) -> np.ndarray:
    """Return the int32 update of one epoch of SGD, batches of 10, learning rate 0.1."""
    flat = model / ONE
    w1, b1, w2, b2 = np.split(flat, SPLIT)
    w1, w2 = w1.reshape(HIDDEN, 64), w2.reshape(10, HIDDEN)
    for batch in np.array_split(rng.permutation(len(images)), max(1, len(images) // 10)):
        x = images[batch]
        hidden = np.maximum(x @ w1.T + b1, 0)
        exponentials = np.exp(hidden @ w2.T + b2)
        error = exponentials / exponentials.sum(axis=1, keepdims=True)
        error[np.arange(len(batch)), labels[batch]] -= 1
        error *= 0.1 / len(batch)
        back = (error @ w2) * (hidden > 0)
        w2, b2 = w2 - error.T @ hidden, b2 - error.sum(axis=0)
        w1, b1 = w1 - back.T @ x, b1 - back.sum(axis=0)
    trained = np.concatenate([w1.ravel(), b1, w2.ravel(), b2])
    return (np.rint(trained * ONE) - model).astype(np.int32)


def partition(labels: np.ndarray, concentration: float | None, rng) -> list[np.ndarray]:
    if concentration is None:
        return np.array_split(rng.permutation(len(labels)), HONEST)
    shares: list[list[int]] = [[] for _ in range(HONEST)]
    for label in range(10):
        members = np.flatnonzero(labels == label)
        edges = (np.cumsum(rng.dirichlet([concentration] * HONEST)) * len(members)).astype(int)
        for share, part in zip(shares, np.split(members, edges[:-1]), strict=True):
            share.extend(part)
    return [np.array(share, int) for share in shares]


def free_riders(honest, model, before, last_step, rng) -> list[np.ndarray]:
    size = np.sqrt(np.mean([np.square(update, dtype=float).mean() for update in honest]))
    noise = rng.normal(0, size, MODEL.dimension).astype(np.int32)
    last_layer = np.zeros(MODEL.dimension, np.int32)
    last_layer[SPLIT[1] :] = rng.normal(0, 3 * size, MODEL.dimension - SPLIT[1])
    old = before[0][1] if before else np.zeros_like(noise)
    scaled = (1.7 * old + rng.normal(0, 0.1 * size, MODEL.dimension)).astype(np.int32)
    step = np.zeros_like(noise) if last_step is None else last_step
    louder = (model * (size / np.sqrt(np.square(model, dtype=float).mean()))).astype(np.int32)
    return [np.zeros_like(noise), noise, last_layer, old, scaled, step, louder]


def play(seed: int, concentration: float | None, rounds: int = ROUNDS) -> tuple[np.ndarray, float]:
    """Return scores of shape ``(rounds, HONEST + riders)``, and the last model's accuracy."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images, labels = digits.data[order] / 16.0, digits.target[order]
    test_inputs = np.rint(images[:EVALUATION] * 4096).astype(np.int32)
    test_labels = labels[:EVALUATION]
    images, labels = images[EVALUATION:], labels[EVALUATION:]
    shares = partition(labels, concentration, rng)
    weights1 = rng.normal(0, np.sqrt(2 / 64), 64 * HIDDEN)
    weights2 = rng.normal(0, np.sqrt(2 / HIDDEN), 10 * HIDDEN)
    floats = np.concatenate([weights1, np.zeros(HIDDEN), weights2, np.zeros(10)])
    model = np.rint(floats * ONE).astype(np.int32)
    n = HONEST + len(RIDERS)
    weights = [WEIGHT_TOTAL // n + (i < WEIGHT_TOTAL % n) for i in range(n)]
    names = [f"0x{i:040x}" for i in range(n)]
    before, last_step, scores = [], None, []
    for number in range(rounds):
        updates = [train(model, images[share], labels[share], rng) for share in shares]
        updates += free_riders(updates, model, before, last_step, rng)
        scored = ScoringRound(
            contributors=names,
            examples=[1] * n,
            weights=weights,
            updates=updates,
            base_model=model,
            rule=RULE,
            seed=hashlib.sha256(b"%d %d" % (seed, number)).digest(),
            previous=before,
            previous_step=last_step,
        )
        scores.append(leave_one_out(scored, lambda m: utility(MODEL, m, test_inputs, test_labels)))
        before = list(zip(names, updates, strict=True))
        last_step = weighted_mean(updates, weights)
        model = apply_step(model, last_step)
    right = correct(MODEL, model, test_inputs, test_labels)
    return np.array(scores), right / EVALUATION


# Each plays for half a minute of processor time: the even divisions at full length only.
PLAYED = [(2, 0.5), (1, None), (3, None)] if FUZZ else [(2, 0.5)]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "concentration"), PLAYED)
def test_honest_contributors_earn_and_free_riders_do_not(seed, concentration):
    scores, accuracy = play(seed, concentration)
    honest, riders = scores[:, :HONEST], scores[:, HONEST:]
    assert riders.tolist() == [[0] * len(RIDERS)] * ROUNDS
    assert accuracy > 0.6
    # nearly everyone earns in most rounds; over the run everyone does
    assert (honest > 0).mean() > 0.5
    assert (honest.sum(axis=0) > 0).all()


def test_scores_do_not_depend_on_who_computes_them():
    first, _ = play(4, 0.5, rounds=2)
    again, _ = play(4, 0.5, rounds=2)
    assert first.tolist() == again.tolist()
