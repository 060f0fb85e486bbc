"""What is learned and how: the model and a contributor's local training."""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.settings.base import Section, by_kind

Widths = Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(min_length=1, max_length=8)]


class LogisticModel(Section):
    """Multinomial logistic regression: one linear layer."""

    kind: Literal["logistic"] = "logistic"


class MlpModel(Section):
    """Fully connected layers of the given widths with ReLU between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = Field(default=[64])


class CnnModel(Section):
    """For each entry a 3x3 convolution, ReLU and 2x2 max-pooling; then one linear layer."""

    kind: Literal["cnn"] = "cnn"
    channels: Widths = Field(default=[8, 16])


Model = Annotated[
    Annotated[LogisticModel | MlpModel | CnnModel, Field(discriminator="kind")], by_kind("mlp")
]


class Training(Section):
    """What a contributor does with its data in one round: plain SGD."""

    epochs: int = Field(default=1, ge=1, le=10_000)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.1, gt=0.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_steps: int = Field(default=0, ge=0)
