"""Calls a participant's own loader ``module:function``, named in its own settings only.

The function takes the settings' ``options`` table as keyword arguments and returns features and
labels, or batches of them. It runs with the participant's rights, as all code that the participant
chose.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.examples import LocalData, check_examples
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.protocol.registry import failure_of


def call_loader(reference: str, options: Mapping[str, Any]) -> LocalData:
    """Call a loader function and check what it returns.

    Parameters
    ----------
    reference
        ``package.module:function``.
    options
        Keyword arguments.

    Raises
    ------
    ConfigError
        If it cannot be imported, raises, yields nothing, or returns something else than two arrays
        or an iterable of such pairs; names the function.
    """
    function, place = resolve(reference), f"data.function {reference}"
    try:
        result = function(**options)
        if not isinstance(result, LocalData | tuple | list):
            result = _gathered(result, place)
    except FedproofError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise ConfigError(f"{place}: {_failure(error)}") from error
    if isinstance(result, LocalData):
        checked = check_examples(result.x, result.y, result.source)
        return replace(checked, own_classes=result.own_classes)
    if not isinstance(result, tuple) or len(result) != 2:
        raise _no_examples(result, place)
    return check_examples(*_arrays(result, place), reference)


def _gathered(batches: Any, place: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays of all batches, such as those of a ``torch.utils.data.DataLoader``."""
    if not isinstance(batches, Iterable) or isinstance(batches, Mapping | str | bytes):
        raise _no_examples(batches, place)
    if hasattr(batches, "shape"):  # a single array or tensor
        raise _no_examples(batches, place)
    pairs = []
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ConfigError(
                f"{place}: batch {number} is {type(batch).__name__}, expected a pair of arrays: "
                "features and labels"
            )
        pairs.append(_arrays(batch, f"{place}: batch {number}"))
    if not pairs:
        raise ConfigError(f"{place}: yields nothing, expected batches of features and labels")
    try:
        return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])
    except ValueError as error:
        raise ConfigError(f"{place}: batches that do not fit together: {error}") from error


def _arrays(pair: Sequence[Any], place: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        return np.asarray(pair[0]), np.asarray(pair[1])
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with gradients
        reason = " ".join(str(error).split())
        raise ConfigError(f"{place}: cannot be made into arrays: {reason}") from error


def _no_examples(result: Any, place: str) -> ConfigError:
    return ConfigError(
        f"{place}: returned {type(result).__name__}, expected a pair of arrays, features and "
        "labels, or batches of them"
    )


def _failure(error: Exception) -> str:
    """Say what a function raised, and where in it; a call that it refused is at no line of it."""
    inside = error.__traceback__ and error.__traceback__.tb_next
    return failure_of(error) if inside else f"{type(error).__name__}: {error}"


def resolve(reference: str) -> Any:
    """Return the object that ``module:attribute`` names.

    Raises
    ------
    ConfigError
        If the text is not of that form, the module cannot be imported, or has no such name.
    """
    module, separator, name = reference.partition(":")
    if not separator or not module or not name:
        raise ConfigError(f'"{reference}": expected "package.module:name"')
    try:
        target: Any = importlib.import_module(module)
    except ImportError as error:
        reason = f"{error} (its folder has to be on the import path)"
        raise ConfigError(f'"{reference}": cannot import {module}: {reason}') from error
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out
        raise ConfigError(f'"{reference}": cannot import {module}: {failure_of(error)}') from error
    try:
        for part in name.split("."):
            target = getattr(target, part)
    except AttributeError as error:
        raise ConfigError(f'"{reference}": {module} has no {name}') from error
    if not callable(target):
        raise ConfigError(f'"{reference}": {type(target).__name__}, expected something to call')
    return target
