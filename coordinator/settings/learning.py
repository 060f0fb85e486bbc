"""How is learned: the inputs, and a contributor's local training. The model is in ``models``."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

from coordinator.protocol.registry import SEPARATOR
from coordinator.settings.base import Section

PLAIN_SGD = "sgd"
CROSS_ENTROPY = "cross_entropy"


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


Options = dict[str, Annotated[Any, AfterValidator(_option)]]
OutsideOrName = Annotated[str, Field(pattern=r"^([a-z0-9_]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]
"""A name of torch's, or ``module:name``."""


class Training(Section):
    """A contributor's local training in one round, with an optimiser of ``torch.optim``.

    ``options`` are further arguments of the optimiser, by torch's names. ``schedule`` says how
    ``learning_rate`` changes from round to round, empty for not at all. What is named is not tried
    here: :data:`~coordinator.settings.checked_training.CheckedTraining` does that.
    """

    epochs: int = Field(default=1, ge=1, le=10_000)
    batch_size: int = Field(default=16, ge=1)
    optimizer: str = Field(default=PLAIN_SGD, pattern="^[a-z0-9]+$")
    learning_rate: float = Field(default=0.1, gt=0.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    options: Options = Field(default={})
    schedule: OutsideOrName | Literal[""] = ""
    schedule_options: Options = Field(default={})
    loss: OutsideOrName = CROSS_ENTROPY
    loss_options: Options = Field(default={})
    max_steps: int = Field(default=0, ge=0)

    @property
    def outside_code(self) -> tuple[str, ...]:
        """What is named ``module:name``: code that whoever trains has to have, and to trust."""
        return tuple(name for name in (self.schedule, self.loss) if SEPARATOR in name)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it always was: agreements from before it could be set keep theirs.

        Their digest is bound on chain (ADR 0138, 0163).
        """
        fields: dict[str, Any] = handler(self)
        for key, default in _ADDED.items():
            if fields[key] == default:
                del fields[key]
        return fields


_ADDED: Final[Mapping[str, Any]] = {
    "optimizer": PLAIN_SGD,
    "options": {},
    "schedule": "",
    "schedule_options": {},
    "loss": CROSS_ENTROPY,
    "loss_options": {},
}
"""Keys that settings of training did not have from the start."""


class Features(Section):
    """The model's inputs, computed from a participant's columns: ``(value - mean) / scale``.

    Mean and scale are agreed before training, so that no participant's own statistics are needed
    (ADR 52). With empty ``names``, inputs are used as loaded.
    """

    names: list[str] = Field(default=[])
    mean: list[float] = Field(default=[])
    scale: list[Annotated[float, Field(gt=0.0)]] = Field(default=[])
    label: str = ""
