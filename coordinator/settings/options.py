"""Sections built from a rule's options: the keys that a file may set, validated by pydantic.

An :class:`~coordinator.protocol.options.Option` becomes a field; a rule of a registry becomes a
section whose ``kind`` is its name.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, create_model

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.options import Option
from coordinator.protocol.registry import SEPARATOR, Registry
from coordinator.settings.base import Section

Rule = TypeVar("Rule")
Model = TypeVar("Model", bound=Section)


def section_model(base: type[Model], name: str, options: Iterable[Option]) -> type[Model]:
    """Return a section with a field for each option that files may set.

    Parameters
    ----------
    base
        The class of the fields that all kinds have.
    name
        The kind, or ``module:name``.

    Raises
    ------
    ConfigError
        If an option has the name of a field or property that all kinds have.
    """
    settable = [option for option in options if option.in_files]
    for option in settable:
        if hasattr(base, option.name) or option.name in base.model_fields:
            raise ConfigError(
                f"{name}: option {option.name} has the name of an attribute that every kind has"
            )
    fields: dict[str, Any] = {option.name: _field(option) for option in settable}
    fields["kind"] = (Literal[name], name)
    title = "".join(word.title() for word in name.rpartition(SEPARATOR)[2].split("_"))
    model: type[Model] = create_model(
        f"{title}{base.__name__}",
        __base__=base,
        __module__=__name__,
        **fields,
    )
    return model


def _field(option: Option) -> tuple[Any, Any]:
    if option.choices:
        return Literal[option.choices], option.default
    if isinstance(option.default, bool | str):
        return type(option.default), option.default
    return Annotated[type(option.default), Field(ge=option.least, le=option.most)], option.default


class SectionsOf(Generic[Rule, Model]):
    """The sections of a registry's rules, by kind; a registry for ``ByKind``.

    Parameters
    ----------
    registry
        The rules.
    make
        Returns a rule's section; called once per rule, with the name it is looked up by.
    """

    def __init__(self, registry: Registry[Rule], make: Callable[[str, Rule], type[Model]]) -> None:
        self._registry, self._make = registry, make
        self._outside: dict[str, type[Model]] = {}

    @cached_property
    def shipped(self) -> Mapping[str, type[Model]]:
        """The sections of the package's rules, by kind."""
        return {name: self._make(name, rule) for name, rule in self._registry.shipped.items()}

    def expected(self, name: str) -> str:
        """Return what was expected instead of an unknown kind, with the closest one, if any."""
        return self._registry.expected(name)

    def get(self, name: str) -> type[Model]:
        """Return the section of a kind; ``module:name`` is imported.

        Raises
        ------
        ConfigError
            If there is no such rule, or it cannot be imported.
        """
        if SEPARATOR not in name:
            self._registry.get(name)
            return self.shipped[name]
        if name not in self._outside:
            self._outside[name] = self._make(name, self._registry.get(name))
        return self._outside[name]
