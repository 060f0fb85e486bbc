"""Which tensors of a torch module contributors share, and how they go in and out of it.

Shared is everything but what is frozen: parameters without gradient, and the buffers of modules
whose own parameters are all frozen. So of a base with adapters only the adapters travel. Float
tensors form the committed vector; integer buffers travel beside it and are not averaged. Not
handled: what a module computes, and where its values come from (``coordinator.models.build``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.errors import ConfigError, OutsideCodeError
from coordinator.protocol.numbers.manifest import FLOAT_DTYPES

_INTEGER_DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_DTYPES = frozenset((*(getattr(torch, name) for name in FLOAT_DTYPES), *_INTEGER_DTYPES))


class SharedModel:
    """A module with the names of its shared tensors; it remembers what its other ones were.

    Parameters
    ----------
    module
        As it was made. Training changes it; :meth:`load` puts back what is not received.
    place
        What to call it in messages.

    Raises
    ------
    OutsideCodeError
        If nothing of it is trained, or a shared tensor has a dtype that cannot be committed to.
    """

    def __init__(self, module: nn.Module, place: str = "model") -> None:
        self.module, self._place = module, place
        frozen = set(_frozen_names(module))
        state = module.state_dict()
        self.names = tuple(name for name in state if name not in frozen)
        self._check(state)
        self.floats = tuple(name for name in self.names if state[name].is_floating_point())
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        self.statistics = tuple(name for name in self.floats if name not in parameters)
        self.frozen = tuple(name for name in state if name in frozen)
        # Training changes no frozen parameter; what it changes besides is put back.
        self._as_built = {
            name: state[name].clone()
            for name in state
            if name not in self.floats and name not in parameters
        }

    def state(self) -> dict[str, torch.Tensor]:
        """Return the shared tensors in their order; not copied."""
        state = self.module.state_dict()
        return {name: state[name] for name in self.names}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the shared tensors as arrays, in their order; not copied."""
        return {name: tensor.numpy() for name, tensor in self.state().items()}

    def structure(self) -> bytes:
        """Return the SHA-256 of what two people's modules have to have in common, 32 bytes.

        That is each part's place, class name and options, as torch prints them, and the frozen
        tensors with their values. What a class computes is no part of it.
        """
        state = self.module.state_dict()
        document = {
            "parts": [
                [name, type(part).__name__, part.extra_repr()]
                for name, part in self.module.named_modules(remove_duplicate=False)
            ],
            "frozen": [
                [name, _dtype(state[name]), list(state[name].shape), _digest(state[name])]
                for name in self.frozen
            ],
        }
        return hashlib.sha256(canonical_json(document)).digest()

    def load(self, received: Mapping[str, torch.Tensor | NDArray[Any]]) -> None:
        """Take a model over; buffers that were not received are put back as they were made.

        Parameters
        ----------
        received
            All shared float tensors by name, and any of the shared integer buffers. Not modified.

        Raises
        ------
        ConfigError
            If a name, a shape or a dtype is not the module's own.
        """
        state = self.module.state_dict()
        for name in self.floats:
            if name not in received:
                raise ConfigError(f"the model received lacks the tensor {name!r} of {self._place}")
        values = dict(self._as_built)
        for name, value in received.items():
            tensor = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
            if name not in self.names:
                raise ConfigError(f"the model received has a tensor {name!r}, {self._place} none")
            if tensor.shape != state[name].shape or tensor.dtype != state[name].dtype:
                raise ConfigError(
                    f"the model received has the tensor {name!r} with {_form(tensor)}, "
                    f"{self._place} has it with {_form(state[name])}"
                )
            values[name] = tensor
        self.module.load_state_dict(values, strict=False)

    def _check(self, state: Mapping[str, Any]) -> None:
        if not any(parameter.requires_grad for parameter in self.module.parameters()):
            raise OutsideCodeError(
                f"{self._place}: no parameter of the module is trained; expected at least one "
                "with requires_grad"
            )
        for name, tensor in state.items():
            if not isinstance(tensor, torch.Tensor):
                raise OutsideCodeError(
                    f"{self._place}: {name!r} of its state dict is a {type(tensor).__name__}, "
                    "expected a tensor"
                )
            if name in self.names:
                require_committable(name, tensor, self._place)
            if tensor.device.type != "cpu":
                raise OutsideCodeError(
                    f"{self._place}: tensor {name!r} is on device {tensor.device}, expected cpu"
                )


def require_committable(name: str, tensor: torch.Tensor, place: str) -> None:
    """Raise ``OutsideCodeError`` if a shared tensor has a dtype that cannot be committed to."""
    if tensor.dtype not in _DTYPES:
        raise OutsideCodeError(
            f"{place}: tensor {name!r} has dtype {_dtype(tensor)}, expected "
            f"{', '.join(FLOAT_DTYPES)}, or an integer buffer"
        )


def _frozen_names(module: nn.Module) -> Iterator[str]:
    """Yield the names of what training does not change, or must not."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        own = dict(part.named_parameters(recurse=False, remove_duplicate=False))
        frozen = [name for name, parameter in own.items() if not parameter.requires_grad]
        buffers = [name for name, _ in part.named_buffers(recurse=False)]
        is_frozen = bool(own) and len(frozen) == len(own)
        for name in (*frozen, *(buffers if is_frozen else ())):
            yield f"{prefix}.{name}" if prefix else name


def _digest(tensor: torch.Tensor) -> str:
    values = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _form(tensor: torch.Tensor) -> str:
    return f"shape {tuple(tensor.shape)} and dtype {_dtype(tensor)}"
