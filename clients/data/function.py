"""Calls a participant's own loader ``module:function``, named in its own settings only.

The function takes the settings' ``options`` table as keyword arguments and returns features and
labels. It runs with the participant's rights, as all code that the participant chose.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clients.data.examples import LocalData, check_examples
from coordinator.protocol.errors import ConfigError, FedproofError


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
        If it cannot be imported, raises, or returns something other than two arrays.
    """
    function = resolve(reference)
    try:
        result = function(**options)
    except FedproofError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise ConfigError(f"data.function {reference}: {type(error).__name__}: {error}") from error
    if isinstance(result, LocalData):
        checked = check_examples(result.x, result.y, result.source)
        return replace(checked, own_classes=result.own_classes)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(
            f"data.function {reference}: returned {type(result).__name__}, expected a pair of "
            "arrays: features and labels"
        )
    return check_examples(np.asarray(result[0]), np.asarray(result[1]), reference)


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
        for part in name.split("."):
            target = getattr(target, part)
    except ImportError as error:
        raise ConfigError(f'"{reference}": cannot import {module}: {error}') from error
    except AttributeError as error:
        raise ConfigError(f'"{reference}": {module} has no {name}') from error
    if not callable(target):
        raise ConfigError(f'"{reference}": {type(target).__name__}, expected something to call')
    return target
