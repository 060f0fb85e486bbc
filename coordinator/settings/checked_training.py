"""Tries what a ``[training]`` section names: optimiser, schedule and loss, with their options.

Imports torch, which takes seconds, only where something is named. Not handled: training itself.
"""

from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from coordinator.settings.learning import CROSS_ENTROPY, PLAIN_SGD, Training


def check_training(
    training: Training, *, rounds: int | None = None, classes: int | None = None
) -> None:
    """Try what is named, with its options; imports torch, unless it is plain SGD.

    Parameters
    ----------
    rounds
        The rounds that a schedule must have a rate for.
    classes
        How many classes the model has; without it the loss is tried on as many as it likes.

    Raises
    ------
    ValueError
        In one line that begins with the key, as ``make_optimizer`` of ``settings.optimizers``,
        ``Schedule`` of ``settings.schedules`` and ``check_loss`` of ``settings.losses``.
    """
    if training.optimizer != PLAIN_SGD or training.options:
        # Takes seconds: commands that only read such settings do without torch.
        from coordinator.settings.optimizers import check_optimizer

        check_optimizer(
            training.optimizer,
            learning_rate=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            options=training.options,
        )
    if training.schedule:
        from coordinator.settings.schedules import check_schedule

        check_schedule(
            training.schedule,
            training.learning_rate,
            training.schedule_options,
            min(rounds or 1, MOST_CHECKED_ROUNDS),
        )
    elif training.schedule_options:
        raise ValueError("training.schedule_options: expected none without training.schedule")
    if training.loss != CROSS_ENTROPY or training.loss_options:
        from coordinator.settings.losses import check_loss

        check_loss(training.loss, training.loss_options, classes)


MOST_CHECKED_ROUNDS: Final = 10_000
"""Working out the rates of more rounds would take longer than a second."""


def _checked(training: Training) -> Training:
    try:
        check_training(training)
    except ValueError as error:
        raise PydanticCustomError("contradiction", "{fault}", {"fault": str(error)}) from error
    return training


CheckedTraining = Annotated[Training, AfterValidator(_checked)]
"""A training section that somebody writes: the optimiser and its options are tried."""
