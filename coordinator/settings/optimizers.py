"""The optimisers of ``torch.optim`` by name, and the options that each of them takes.

Imports torch, which takes seconds: settings that are plain SGD do without this module. Not
handled: learning rates that change from step to step, several groups of parameters.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch.optim import Optimizer

OWN_KEYS: Final = {"lr": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay"}
"""Options that are keys of the training section, by torch's name."""
IMPLEMENTATIONS: Final = frozenset({"foreach", "fused", "capturable", "differentiable"})
"""Arguments that say how a step is computed, not which: they may change the last bits."""

_FOREIGN: Final = (
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""What torch raises for values that it does not expect."""
_SHAPES: Final = ((2, 2), (2,), (1, 1, 3, 3))
"""Of the parameters of a trial: a linear layer's, a bias's, a convolution's."""


def optimizer_names() -> list[str]:
    """Return the names of torch's optimisers, sorted: its classes' in lower case."""
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
    """Return an optimiser of some parameters.

    Parameters
    ----------
    name
        One of :func:`optimizer_names`.
    momentum, weight_decay
        Given to every optimiser that has such an option, also where torch's own default is another.
    options
        Further arguments of torch's class, by its names; lists stand for tuples.

    Raises
    ------
    ValueError
        In one line that begins with the key of the training section: if there is no such
        optimiser, it has no such option, or it refuses a value or these parameters.
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
    except _FOREIGN as error:
        raise _refused(name, error) from error


def check_optimizer(
    name: str,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> None:
    """Make an optimiser and two steps with it, on parameters of the shapes that models here have.

    Parameters and errors are :func:`make_optimizer`'s.
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
        total = torch.stack([(one * one).sum() for one in weights]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()

    try:
        for _ in range(2):
            optimizer.step(loss)
    except _FOREIGN as error:
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f'training.optimizer = "{name}": refused by torch: {reason}')


def _classes() -> dict[str, type[Optimizer]]:
    found = (getattr(torch.optim, name) for name in torch.optim.__all__)
    return {
        one.__name__.lower(): one
        for one in found
        if isinstance(one, type) and issubclass(one, Optimizer) and one is not Optimizer
    }


def _arguments(kind: type[Optimizer]) -> set[str]:
    return {*inspect.signature(kind).parameters} - {"params", *IMPLEMENTATIONS}
