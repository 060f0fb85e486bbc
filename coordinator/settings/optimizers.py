"""The optimisers of ``torch.optim`` by name, and the options that each of them takes.

Imports torch, which takes seconds: settings with plain SGD are checked without this module. Not
handled: learning rates that change from step to step, several groups of parameters.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch.optim import Optimizer

OWN_KEYS: Final = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}
"""Keys of the training section, by torch's name of the same option."""
IMPLEMENTATIONS: Final = frozenset({"foreach", "fused", "capturable", "differentiable"})
"""Arguments that select an implementation of the same step; they may change the last bits."""

_TORCH_ERRORS: Final = (
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""Exceptions of torch for unexpected values."""
_SHAPES: Final = ((2, 2), (2,), (1, 1, 3, 3))
"""Shapes of the parameters in a trial: a linear layer's, a bias's, a convolution's."""


def optimizer_names() -> list[str]:
    """Return the names of torch's optimisers, sorted: the class names in lower case."""
    return sorted(_classes())


def make_optimizer(
    name: str,
    parameters: Iterable[torch.nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Optimizer:
    """Return an optimiser for the given parameters.

    Parameters
    ----------
    name
        One of :func:`optimizer_names`.
    momentum, weight_decay
        Passed to every optimiser that has such an option, even if torch's default differs.
    options
        Further arguments of torch's class, by its names; lists are passed as tuples.

    Raises
    ------
    ValueError
        If there is no such optimiser, it has no such option, or it refuses a value or these
        parameters; the message is one line that begins with the key of the training section.
    """
    kind = _classes().get(name)
    if kind is None:
        names = ", ".join(optimizer_names())
        raise ValueError(f'training.optimizer = "{name}": expected one of {names}')
    arguments = _arguments(kind)
    given: dict[str, Any] = {"lr": learning_rate}
    for key, value in (("momentum", momentum), ("weight_decay", weight_decay)):
        if key in arguments:
            given[key] = value
        elif value:
            raise ValueError(f"training.{key} = {value}: {name} has no such option")
    for key, value in options.items():
        if key in OWN_KEYS:
            raise ValueError(f"training.options.{key}: expected training.{OWN_KEYS[key]} instead")
        if key not in arguments:
            known = ", ".join(sorted(arguments - {*OWN_KEYS})) or "no further options"
            raise ValueError(f"training.options.{key}: {name} has no such option; it has {known}")
        given[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(parameters, **given)
    except _TORCH_ERRORS as error:
        raise _refused(name, error) from error


def check_optimizer(
    name: str,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> None:
    """Build an optimiser and take two steps, on parameters of the shapes of built-in models.

    Parameters and errors are those of :func:`make_optimizer`.
    """
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in _SHAPES]
    optimizer = make_optimizer(
        name,
        weights,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        options=options,
    )

    def loss() -> float:
        optimizer.zero_grad()
        total = torch.stack([(weight * weight).sum() for weight in weights]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()

    try:
        for _ in range(2):
            optimizer.step(loss)
    except _TORCH_ERRORS as error:
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f'training.optimizer = "{name}": refused by torch: {reason}')


def _classes() -> dict[str, type[Optimizer]]:
    exported = (getattr(torch.optim, name) for name in torch.optim.__all__)
    return {
        item.__name__.lower(): item
        for item in exported
        if isinstance(item, type) and issubclass(item, Optimizer) and item is not Optimizer
    }


def _arguments(kind: type[Optimizer]) -> set[str]:
    return {*inspect.signature(kind).parameters} - {"params", *IMPLEMENTATIONS}
