"""What every kind of model is built on: its options, and what it builds.

Not handled: initial values of layers, and what of a module is shared (``coordinator.models``).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import SEPARATOR
from coordinator.protocol.scores.architecture import Layer
from coordinator.settings.base import Section

if TYPE_CHECKING:
    from torch import nn


class ModelKind(Section):
    """A model: its fields are the options of ``[model]``; it has layers, or it makes a module.

    A kind defines :meth:`layers` where integers can repeat the model exactly (then leave-one-out
    can score it), else :meth:`module`.

    Attributes
    ----------
    needs_images
        Whether examples have to be ``(channels, height, width)``.
    """

    needs_images: ClassVar[bool] = False

    kind: str

    @property
    def is_own(self) -> bool:
        """Whether somebody's own code makes it, which is tried before a run or a federation."""
        return SEPARATOR in self.kind

    @property
    def place(self) -> str:
        """Key and value that name the model, for messages."""
        return f'model.kind = "{self.kind}"'

    def layers(self, input_shape: tuple[int, ...], num_classes: int) -> Sequence[Layer] | None:
        """Return the model as layers that integers repeat; ``None`` where it is a module only.

        Parameters
        ----------
        input_shape
            Shape of one example.
        num_classes
            Width of the last layer, which gives logits.

        Raises
        ------
        ConfigError
            If such examples cannot be the model's input.
        """
        return None

    def module(self, input_shape: tuple[int, ...], num_classes: int) -> "nn.Module":
        """Make the torch module: ``(batch, *input_shape)`` to logits ``(batch, num_classes)``.

        Its values are the initial model. They may be drawn from the generators of torch, NumPy and
        ``random``, which are seeded before the call.

        Raises
        ------
        ConfigError
            If it cannot be made.
        """
        raise ConfigError(f"{self.place}: has neither layers nor a module")
