"""Options of aggregation rules and scores: names, types, bounds, as data.

What a configuration file may set, what a committed document may hold and what its messages say
follow from one list of :class:`Option`. Not handled: options that depend on each other; a rule or a
score checks those when it is applied.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.protocol.errors import ConfigError

OptionValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes
    ----------
    name
        As in a configuration file and in documents.
    default
        Its type is the option's type: ``bool``, ``int``, ``float`` or ``str``.
    least, most
        Inclusive bounds of a number; ``None`` for none.
    choices
        The texts that are allowed; empty for any.
    in_files
        Whether a configuration file may set it. Otherwise it has its default, but for documents
        that say otherwise.
    """

    name: str
    default: OptionValue
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    in_files: bool = True

    def __post_init__(self) -> None:
        """Check the option itself.

        Raises
        ------
        ConfigError
            If its name is not an identifier, or the default is of another type or breaks its own
            bounds.
        """
        is_name = isinstance(self.name, str) and self.name.isidentifier()
        if not is_name or self.name == "kind":
            raise ConfigError(f"option {self.name!r}: expected an identifier other than kind")
        if type(self.default) not in _TYPES:
            raise ConfigError(
                f"option {self.name}: default is {self.default!r}, expected a bool, int, float or "
                "str"
            )
        self.checked(self.default, "default of option")

    def checked(self, value: Any, place: str) -> OptionValue:
        """Return a value of the option's type within its bounds.

        Raises
        ------
        ConfigError
            Naming ``place``, the option, what was found and what was expected.
        """
        wanted = type(self.default)
        # An integer is a number too, as in TOML; True is not 1.
        found: Any = float(value) if wanted is float and type(value) is int else value
        if not (_is_finite(found) if wanted is float else _is_of(found, wanted)):
            raise ConfigError(f"{place} {self.name} is {found!r}, expected {_TYPES[wanted]}")
        if self.choices and found not in self.choices:
            raise ConfigError(
                f"{place} {self.name} is {found!r}, expected one of {', '.join(self.choices)}"
            )
        too_low = self.least is not None and found < self.least
        if too_low or (self.most is not None and found > self.most):
            raise ConfigError(f"{place} {self.name} is {found!r}, expected {self._bounds()}")
        checked: OptionValue = found
        return checked

    def _bounds(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return f"at most {self.most}" if self.least is None else f"{self.least} to {self.most}"


def _is_of(value: Any, wanted: type) -> bool:
    return type(value) is wanted


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


_TYPES = {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}


def check_declared(options: Sequence[Option], place: str) -> None:
    """Check a list of options as a rule or a score declares it.

    Raises
    ------
    ConfigError
        If one is no :class:`Option`, or two have the same name; ``place`` names whose they are.
    """
    for option in options:
        if not isinstance(option, Option):
            raise ConfigError(f"{place} options have a {type(option).__name__}, expected Options")
    names = [option.name for option in options]
    if len(set(names)) != len(names):
        raise ConfigError(f"{place} options are {', '.join(names)}, expected each once")


def checked_options(
    options: Sequence[Option], given: Mapping[str, Any], place: str
) -> dict[str, OptionValue]:
    """Return a value for each option: the given one, or its default.

    Raises
    ------
    ConfigError
        If a value is not its option's, or one is given that is no option; ``place`` names whose
        options they are.

    Examples
    --------
    >>> checked_options([Option("keep", 1, least=1)], {"keep": 3}, "rule krum:")
    {'keep': 3}
    """
    known = {option.name for option in options}
    for name in given:
        if name not in known:
            expected = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{place} {name} is no option, expected one of: {expected}")
    return {
        option.name: option.checked(given.get(option.name, option.default), place)
        for option in options
    }
