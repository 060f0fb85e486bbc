"""The built-in trainer: plain SGD on a classification model, at the speed of a bare torch loop.

For one seed, the trained weights are the same to the bit in any process, whatever trained there
before, as long as torch runs one thread (:func:`use_one_thread`): sums over threads depend on how
many there are. Other hardware may round differently; nothing in the protocol asks that training
be repeatable elsewhere, only aggregation is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

EVALUATION_BATCH = 1_024


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How one contributor trains in one round.

    ``max_steps`` ends training early, in the middle of an epoch if need be; ``None`` for no end.
    Momentum starts from zero in every round.
    """

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Mean loss over the examples seen, number of examples held, steps made."""

    loss: float
    examples: int
    steps: int


def use_one_thread() -> None:
    """Make this process's torch repeatable (and leave the other cores to other workers)."""
    torch.set_num_threads(1)


def train(
    model: nn.Module,
    x: NDArray[np.float32] | torch.Tensor,
    y: NDArray[np.int64] | torch.Tensor,
    settings: TrainingSettings,
    seed: int,
) -> TrainingResult:
    """Train a model in place by SGD on cross-entropy.

    Parameters
    ----------
    model
        Maps ``(batch, *input_shape)`` to logits ``(batch, classes)``. Modified.
    x, y
        Examples ``(n, *input_shape)`` float32, and labels ``(n,)`` int64; not modified. The last
        batch of an epoch may be smaller.
    settings
        Of this round.
    seed
        Decides the order of the examples, and nothing else.

    Returns
    -------
    The loss may be NaN or infinite if training diverges: whoever quantises the weights refuses
    them then.

    Raises
    ------
    ValueError
        If there are no examples, or not as many labels.

    References
    ----------
    The update is PyTorch's: ``g += weight_decay * w; v = momentum * v + g; w -= lr * v``.
    """
    features, labels = torch.as_tensor(x), torch.as_tensor(y)
    count = len(labels)
    if count == 0 or len(features) != count:
        raise ValueError(f"{len(features)} examples and {count} labels; expected as many, not 0")
    model.train()
    optimiser = _Sgd(model, settings)
    rng = np.random.Generator(np.random.PCG64(seed))
    total = torch.zeros(())
    seen = 0
    for _ in range(settings.epochs):
        order = torch.from_numpy(rng.permutation(count))
        for start in range(0, count, settings.batch_size):
            if optimiser.steps == settings.max_steps:
                break
            chosen = order[start : start + settings.batch_size]
            loss = functional.cross_entropy(model(features[chosen]), labels[chosen])
            optimiser.step(loss)
            total += loss.detach() * len(chosen)
            seen += len(chosen)
    return TrainingResult(loss=float(total) / seen, examples=count, steps=optimiser.steps)


class _Sgd:
    """SGD over lists of tensors: ``torch.optim.SGD`` costs as much as a small model's step."""

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.data = [p.data for p in self.parameters]
        self.settings = settings
        self.velocity: list[torch.Tensor] = []
        self.steps = 0

    def step(self, loss: torch.Tensor) -> None:
        gradients = list(torch.autograd.grad(loss, self.parameters))
        settings = self.settings
        if settings.weight_decay:
            torch._foreach_add_(gradients, self.data, alpha=settings.weight_decay)
        if settings.momentum:
            gradients = self._with_momentum(gradients)
        torch._foreach_add_(self.data, gradients, alpha=-settings.learning_rate)
        self.steps += 1

    def _with_momentum(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        if not self.velocity:
            self.velocity = [gradient.clone() for gradient in gradients]
        else:
            torch._foreach_mul_(self.velocity, self.settings.momentum)
            torch._foreach_add_(self.velocity, gradients)
        return self.velocity


def evaluate(
    model: nn.Module,
    x: NDArray[np.float32] | torch.Tensor,
    y: NDArray[np.int64] | torch.Tensor,
) -> tuple[float, int]:
    """Return the mean cross-entropy over the examples and how many are classified rightly.

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
