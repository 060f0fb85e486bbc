"""What every kind of model is built on: its options, and what it builds.

Not handled: initial values of layers, and what of a module is shared (``coordinator.models``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import SEPARATOR
from coordinator.protocol.scores.architecture import Layer
from coordinator.settings.base import Section

if TYPE_CHECKING:
    import torch
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

    def participants_section(self, *, has_frozen: bool) -> dict[str, Any]:
        """Return the ``[model]`` table of a participant in a federation founded with this one.

        Parameters
        ----------
        has_frozen
            Whether some of the module's values are not shared.

        Returns
        -------
        Empty where participants bring an application of their own.
        """
        return self.model_dump(mode="json")

    def in_folder(self, folder: Path) -> Self:
        """Return it with paths that are relative to ``folder``, where it has any."""
        return self

    def tensors(self) -> Mapping[str, "torch.Tensor"] | None:
        """Return the initial values where they are all that there is; usually ``None``.

        Raises
        ------
        ConfigError
            If they cannot be read.
        """
        return None

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
