"""A torch module of one's own, made by a function or a class that the settings name."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, JsonValue

from coordinator.protocol.errors import FedproofError, OutsideCodeError
from coordinator.protocol.registry import failure_of, outside_object
from coordinator.settings.models.base import ModelKind

if TYPE_CHECKING:
    from torch import nn

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""``module:name`` of a function, or of a class."""


class PythonModel(ModelKind):
    """What ``function`` returns, called with ``options`` as keyword arguments.

    It is called with ``input_shape`` and ``num_classes`` too, where it has parameters of these
    names and the options do not set them.
    """

    kind: Literal["python"] = "python"
    function: FunctionName
    options: dict[str, JsonValue] = Field(default={})

    @property
    def is_own(self) -> bool:
        """Whether somebody's own code makes it: always."""
        return True

    @property
    def place(self) -> str:
        """The key and the function."""
        return f'model.function = "{self.function}"'

    def module(self, input_shape: tuple[int, ...], num_classes: int) -> "nn.Module":
        """Call the function.

        Raises
        ------
        OutsideCodeError
            If it cannot be imported or called, raises, or returns no ``torch.nn.Module``.
        """
        known = {"input_shape": input_shape, "num_classes": num_classes}
        return made_module(self.function, self.options, known, self.place)


def made_module(
    function: str, options: Mapping[str, Any], known: Mapping[str, Any], place: str
) -> "nn.Module":
    """Return the module that a named function returns.

    Parameters
    ----------
    function
        ``module:name``; the module is imported, which runs its code.
    options
        Keyword arguments.
    known
        Further ones, each for functions that have a parameter of that name.
    place
        Key and value that name the function, for messages.

    Raises
    ------
    OutsideCodeError
        If it cannot be imported or called, raises, or returns no ``torch.nn.Module``.
    """
    from torch import nn  # takes seconds: only where a model is made

    make = outside_object(function, place)
    if not callable(make):
        raise OutsideCodeError(
            f"{place}: found {type(make).__name__}, expected a function or a class that returns a "
            "torch.nn.Module"
        )
    arguments = _arguments(make, options, known, place)
    try:
        made = make(**arguments)
    except FedproofError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out of it
        raise OutsideCodeError(f"{place} raised {failure_of(error)}") from error
    if not isinstance(made, nn.Module):
        found = made.__name__ if isinstance(made, type) else f"a {type(made).__name__}"
        raise OutsideCodeError(f"{place} returned {found}, expected a torch.nn.Module")
    return made


def _arguments(
    make: Callable[..., Any], options: Mapping[str, Any], known: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Return keyword arguments that fit the function's signature, if it has one."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # of a class in C, such as some of torch's
        return dict(options)
    asked = {name: value for name, value in known.items() if name in signature.parameters}
    arguments = {**asked, **options}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise OutsideCodeError(
            f"{place} cannot be called with model.options {sorted(options)}: {error}; it takes "
            f"{signature}"
        ) from error
    return arguments
