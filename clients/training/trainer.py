"""The built-in trainer: an optimiser of ``torch.optim`` on a classification model.

Evaluation is by cross-entropy, whatever the loss that was trained on.

For one seed, the trained weights are the same to the bit in any process, whatever was trained in it
before, if torch runs one thread (:func:`use_one_thread`): sums over threads depend on their number.
Other hardware may round differently; the protocol requires repeatable aggregation, not training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

from coordinator.models.networks import least_batch
from coordinator.models.seeding import seeded
from coordinator.settings.learning import CROSS_ENTROPY, Training
from coordinator.settings.losses import Loss, make_loss
from coordinator.settings.optimizers import make_optimizer
from coordinator.settings.schedules import Schedule

EVALUATION_BATCH = 1_024


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings of one contributor's training in one round.

    ``max_steps`` ends training early, in the middle of an epoch if need be; ``None`` for no end.
    ``optimizer`` and ``options`` are :func:`~coordinator.settings.optimizers.make_optimizer`'s. Its
    state (momentum) starts anew in every round. ``loss`` and ``loss_options`` are
    :func:`~coordinator.settings.losses.make_loss`'s. With a ``schedule`` these are the settings of
    all rounds, and :meth:`in_round` gives those of one.
    """

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    max_steps: int | None = None
    optimizer: str = "sgd"
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: str = CROSS_ENTROPY
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None

    def in_round(self, round_id: int) -> "TrainingSettings":
        """Return the settings of a round, from 1, with its learning rate.

        Raises
        ------
        ValueError
            If the schedule has no rate for the round.
        """
        if self.schedule is None:
            return self
        return replace(self, learning_rate=self.schedule.rate(round_id), schedule=None)


def training_settings(section: Training) -> TrainingSettings:
    """Return the training settings of a ``[training]`` section.

    Raises
    ------
    ValueError
        If there is no such schedule; sections that somebody wrote were tried before.
    """
    schedule = None
    if section.schedule:
        schedule = Schedule(section.schedule, section.learning_rate, section.schedule_options)
    return TrainingSettings(
        epochs=section.epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        max_steps=section.max_steps or None,
        optimizer=section.optimizer,
        options=dict(section.options),
        loss=section.loss,
        loss_options=dict(section.loss_options),
        schedule=schedule,
    )


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Mean loss over the examples used, number of the contributor's examples, number of steps."""

    loss: float
    examples: int
    steps: int


def use_one_thread() -> None:
    """Make torch repeatable in this process, and leave the other cores to other workers."""
    torch.set_num_threads(1)


def load_optimizers() -> None:
    """Make torch load what its first optimiser loads: a second of a round otherwise (ADR 0138)."""
    torch.optim.SGD([torch.zeros(1)], lr=0.1)


def train(
    model: nn.Module,
    x: NDArray[np.float32] | torch.Tensor,
    y: NDArray[np.int64] | torch.Tensor,
    settings: TrainingSettings,
    seed: int,
) -> TrainingResult:
    """Train a model in place.

    Parameters
    ----------
    model
        Maps ``(batch, *input_shape)`` to logits ``(batch, classes)``. Modified.
    x, y
        Examples ``(n, *input_shape)`` float32, and labels ``(n,)`` int64; not modified. The last
        batch of an epoch may be smaller; a single example that is left over is left out where the
        model has batch norm, which cannot train on it.
    settings
        The settings of this round.
    seed
        Decides the order of the examples, and what the model itself draws (dropout).

    Returns
    -------
    The loss is NaN or infinite if training diverges; quantising the weights is refused then.

    Raises
    ------
    ValueError
        If there are no examples, or not as many labels, or too few for batch norm; if there is no
        such optimiser or loss, or it refuses an option.
    """
    features, labels = torch.as_tensor(x), torch.as_tensor(y)
    count = len(labels)
    if count == 0 or len(features) != count:
        raise ValueError(f"{len(features)} examples and {count} labels; expected as many, not 0")
    least = least_batch(model)
    if count < least or settings.batch_size < least:
        raise ValueError(
            f"{count} examples in batches of {settings.batch_size}; batch norm needs at least "
            f"{least} in a batch"
        )
    model.train()
    optimizer = make_optimizer(
        settings.optimizer,
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        options=settings.options,
    )
    loss_of = _loss(settings)
    rng = np.random.Generator(np.random.PCG64(seed))
    total = torch.zeros(())
    seen = steps = 0
    with seeded(seed):
        for _ in range(settings.epochs):
            order = torch.from_numpy(rng.permutation(count))
            for start in range(0, count, settings.batch_size):
                if steps == settings.max_steps:
                    break
                chosen = order[start : start + settings.batch_size]
                if len(chosen) < least:
                    break
                loss = _step(model, optimizer, loss_of, features[chosen], labels[chosen])
                total += loss * len(chosen)
                seen += len(chosen)
                steps += 1
    return TrainingResult(loss=float(total) / seen, examples=count, steps=steps)


def _loss(settings: TrainingSettings) -> Loss:
    if settings.loss == CROSS_ENTROPY and not settings.loss_options:
        return functional.cross_entropy
    return make_loss(settings.loss, settings.loss_options)


def _step(
    model: nn.Module,
    optimizer: Optimizer,
    loss_of: Loss,
    features: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Take one step; return the loss before it."""

    def loss() -> torch.Tensor:
        """Some optimisers (L-BFGS) ask for loss and gradients more than once in a step."""
        optimizer.zero_grad()
        value = loss_of(model(features), labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    before: torch.Tensor = optimizer.step(loss)  # type: ignore[assignment, arg-type]
    return before.detach()


def predict(model: nn.Module, x: NDArray[np.float32] | torch.Tensor) -> NDArray[np.float64]:
    """Return the class probabilities of examples: shape ``(n, classes)``, rows sum to 1."""
    features = torch.as_tensor(x)
    model.eval()
    with torch.inference_mode():
        parts = [
            model(features[start : start + EVALUATION_BATCH]).double().softmax(dim=1)
            for start in range(0, len(features), EVALUATION_BATCH)
        ]
        probabilities: NDArray[np.float64] = torch.cat(parts).numpy()
    return probabilities


def evaluate(
    model: nn.Module,
    x: NDArray[np.float32] | torch.Tensor,
    y: NDArray[np.int64] | torch.Tensor,
) -> tuple[float, int]:
    """Return the mean cross-entropy and the number of correctly classified examples.

    Raises
    ------
    ValueError
        If there are no examples, or not as many labels.
    """
    features, labels = torch.as_tensor(x), torch.as_tensor(y)
    count = len(labels)
    if count == 0 or len(features) != count:
        raise ValueError(f"{len(features)} examples and {count} labels; expected as many, not 0")
    model.eval()
    loss, correct = 0.0, 0
    with torch.inference_mode():
        for start in range(0, count, EVALUATION_BATCH):
            part = labels[start : start + EVALUATION_BATCH]
            logits = model(features[start : start + EVALUATION_BATCH])
            loss += float(functional.cross_entropy(logits, part, reduction="sum"))
            correct += int((logits.argmax(dim=1) == part).sum())
    return loss / count, correct
