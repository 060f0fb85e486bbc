"""How is learned: the inputs, and a contributor's local training. The model is in ``models``."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

from coordinator.settings.base import Section

PLAIN_SGD = "sgd"


def _is_option(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int | str)


def _option(value: Any) -> Any:
    entries = value if isinstance(value, list) else [value]
    if not all(map(_is_option, entries)):
        raise PydanticCustomError(
            "option", "expected a number, text, true, false or a list of them"
        )
    return value


class Training(Section):
    """What a contributor does with its data in one round, by an optimiser of ``torch.optim``.

    ``options`` are further arguments of the optimiser, by torch's names. They are not compared with
    the optimiser here: :data:`CheckedTraining` does that.
    """

    epochs: int = Field(default=1, ge=1, le=10_000)
    batch_size: int = Field(default=16, ge=1)
    optimizer: str = Field(default=PLAIN_SGD, pattern="^[a-z0-9]+$")
    learning_rate: float = Field(default=0.1, gt=0.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    options: dict[str, Annotated[Any, AfterValidator(_option)]] = Field(default={})
    max_steps: int = Field(default=0, ge=0)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says plain SGD: agreements from before other optimisers keep their digest.

        The digest is bound on chain (ADR 0138).
        """
        fields: dict[str, Any] = handler(self)
        if self.optimizer == PLAIN_SGD:
            del fields["optimizer"]
        if not self.options:
            del fields["options"]
        return fields


def check_training(training: Training) -> None:
    """Try the optimiser with its options; imports torch, unless it is plain SGD.

    Raises
    ------
    ValueError
        In one line that begins with the key, as ``make_optimizer`` of ``settings.optimizers``.
    """
    if training.optimizer == PLAIN_SGD and not training.options:
        return  # momentum and weight decay are in their bounds
    # Takes seconds: commands that only read such settings do without torch.
    from coordinator.settings.optimizers import check_optimizer

    check_optimizer(
        training.optimizer,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        options=training.options,
    )


def _checked(training: Training) -> Training:
    try:
        check_training(training)
    except ValueError as error:
        raise PydanticCustomError("contradiction", "{fault}", {"fault": str(error)}) from error
    return training


CheckedTraining = Annotated[Training, AfterValidator(_checked)]
"""A training section that somebody writes: the optimiser and its options are tried."""


class Features(Section):
    """How a participant's columns become the model's inputs: ``(value - mean) / scale``.

    Constants agreed before training, so that no hospital's own statistics are needed. Empty
    ``names`` leaves inputs as they are loaded.
    """

    names: list[str] = Field(default=[])
    mean: list[float] = Field(default=[])
    scale: list[Annotated[float, Field(gt=0.0)]] = Field(default=[])
    label: str = ""
