"""A federation's model as the core's architecture document: what integers repeat exactly.

Of a kind with layers the document is written down from them; of a torch module of one's own it is
read off, where the module is a sequence of such layers. Not handled: skip connections, batch norm,
attention, and everything else that is not in ``protocol.scores.architecture``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import (
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2,
    Relu,
)
from coordinator.settings.models.base import ModelKind

if TYPE_CHECKING:
    from torch import nn

_REPEATED = (
    "a torch.nn.Sequential of Linear, Conv2d (stride 1, as much padding on each side), ReLU, "
    "MaxPool2d(2), Flatten and Dropout"
)


def architecture(
    config: ModelKind, input_shape: tuple[int, ...], num_classes: int, scale_bits: int = 20
) -> Architecture:
    """Describe a kind that has layers: they take their parameters in the order of a state dict.

    Parameters
    ----------
    config
        The ``[model]`` section.
    input_shape
        Shape of one example; ``(channels, height, width)`` for a CNN.
    num_classes
        Width of the last layer, which gives logits.
    scale_bits
        Of the federation's manifest.

    Raises
    ------
    ConfigError
        If such examples cannot be the model's input, or the kind has no layers.
    """
    layers = config.layers(input_shape, num_classes)
    if layers is None:
        raise ConfigError(f"{config.place} is a module; expected a model described by layers")
    return Architecture(tuple(layers), input_shape, scale_bits=scale_bits)


def module_architecture(
    module: "nn.Module", input_shape: tuple[int, ...], scale_bits: int
) -> Architecture:
    """Describe a torch module that is a sequence of layers which integers repeat.

    Raises
    ------
    ConfigError
        If it is anything else; says what, and names the module.
    """
    layers = tuple(_layers_of(module, "the module"))
    return Architecture(layers, input_shape, scale_bits=scale_bits)


def _layers_of(module: "nn.Module", name: str) -> Iterator[Layer]:
    from torch import nn

    match module:
        case nn.Sequential():
            for number, child in enumerate(module):  # also one that is there twice
                yield from _layers_of(child, f"its layer {number}")
        case nn.Linear():
            yield Linear(module.in_features, module.out_features, module.bias is not None)
        case nn.Conv2d() if _is_plain(module):
            yield Conv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size[0],
                int(module.padding[0]),
                module.bias is not None,
            )
        case nn.ReLU():
            yield Relu()
        case nn.MaxPool2d() if _halves(module):
            yield MaxPool2()
        case nn.Flatten(start_dim=1, end_dim=-1):
            yield Flatten()
        case nn.Dropout() | nn.Identity():
            pass  # changes nothing where a model is evaluated
        case _:
            raise ConfigError(
                f"{name} is {type(module).__name__}{_options(module)}, integers repeat only "
                f"{_REPEATED}"
            )


def _options(module: "nn.Module") -> str:
    return f"({options[:80]})" if (options := module.extra_repr()) else ""


def _is_plain(module: "nn.Conv2d") -> bool:
    (rows, columns), padding = module.kernel_size, module.padding
    return (
        rows == columns
        and not isinstance(padding, str)
        and padding[0] == padding[1]
        and module.padding_mode == "zeros"
        and {*module.stride, *module.dilation, module.groups} == {1}
    )


def _halves(module: "nn.MaxPool2d") -> bool:
    return (
        module.kernel_size in (2, (2, 2))
        and module.stride in (2, (2, 2))
        and module.padding in (0, (0, 0))
        and module.dilation in (1, (1, 1))
        and not module.ceil_mode
        and not module.return_indices
    )
