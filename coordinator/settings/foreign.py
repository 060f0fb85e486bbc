"""Code that settings name and others wrote: torch's, or a function of one's own.

Whatever it raises becomes a ``ValueError`` of one line that begins with the key of the settings.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import failure_of, outside_object

Result = TypeVar("Result")


def outside_function(name: str, key: str) -> Callable[..., Any]:
    """Return the function that ``module:name`` names; the module is imported.

    Raises
    ------
    ValueError
        If it cannot be imported, or is nothing to call.
    """
    place = f'{key} = "{name}"'
    try:
        function: Any = outside_object(name, place)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if not callable(function):
        raise ValueError(f"{place}: found {type(function).__name__}, expected a function")
    return function  # type: ignore[no-any-return]


def called(place: str, function: Callable[..., Result], /, *given: Any, **options: Any) -> Result:
    """Call somebody else's function.

    Parameters
    ----------
    place
        Key and value that name the function, for the message.

    Raises
    ------
    ValueError
        If the function raises anything.
    """
    try:
        return function(*given, **options)
    except Exception as error:
        if str(getattr(function, "__module__", "")).startswith("torch"):
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{place}: refused by torch: {reason}") from error
        raise ValueError(f"{place}: {failure_of(error)}") from error
