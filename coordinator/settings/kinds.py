"""Sections with kinds: a table's ``kind`` selects the model that validates it.

The kinds are those of a registry, so that a file added to a package is a kind of the schema, and
``kind = "module:Name"`` is one from outside the package. Options that the chosen kind does not have
are refused, as in any section.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol, get_args

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import (
    CoreSchema,
    PydanticCustomError,
    PydanticKnownError,
    SchemaValidator,
    core_schema,
)

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import SEPARATOR
from coordinator.settings.base import Section


def kind_of(model: type[Section]) -> str | None:
    """Return the kind of a model, from its field ``kind: Literal["name"]``.

    ``None`` for a base class, and for a model outside the package, whose ``kind`` is any text.
    """
    choices = get_args(model.model_fields["kind"].annotation)
    return str(choices[0]) if choices else None


class Kinds(Protocol):
    """A registry of models, or of rules from which models are built."""

    @property
    def shipped(self) -> Mapping[str, Any]:
        """The package's models, by kind."""
        ...

    def get(self, name: str) -> Any:
        """Return the model of a kind; raises ``ConfigError`` if it is unknown."""
        ...

    def expected(self, name: str) -> str:
        """Return what was expected instead of an unknown kind."""
        ...


class ByKind:
    """Marks a field as one of the models of a registry: ``Annotated[Base, ByKind(REGISTRY)]``.

    Parameters
    ----------
    registry
        The models, by kind. Each has a field ``kind``: ``Literal`` of its name for those of the
        package, ``str`` for those outside.
    default
        The kind of a table without ``kind``; without a default such a table is refused.
    """

    def __init__(self, registry: Kinds, default: str | None = None) -> None:
        self._registry, self._default = registry, default
        self._validators: dict[str, SchemaValidator] = {}

    @cached_property
    def models(self) -> Mapping[str, type[Section]]:
        """The models of the package, by kind."""
        return self._registry.shipped

    def model(self, kind: str) -> type[Section] | None:
        """Return the model of a kind, also of one outside the package; ``None`` if unknown."""
        try:
            model: type[Section] = self._registry.get(kind)
        except ConfigError:
            return None
        return model

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate with the model that the value's ``kind`` names."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, raw: Any) -> Any:
        if isinstance(raw, Section):
            raw_kind: Any = getattr(raw, "kind", None)
        elif isinstance(raw, dict):
            if self._default is not None and "kind" not in raw:
                raw = {"kind": self._default, **raw}
            raw_kind = raw.get("kind")
        else:
            raise PydanticKnownError("dict_type")
        if raw_kind is None:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "kind"})
        return self._validator(str(raw_kind)).validate_python(raw)

    def _validator(self, kind: str) -> SchemaValidator:
        if kind not in self._validators:
            # A union of one model, so that the locations of errors name the kind for messages.
            choices = {kind: TypeAdapter(self._model(kind)).core_schema}
            union = core_schema.tagged_union_schema(choices, discriminator="kind")
            self._validators[kind] = SchemaValidator(union)
        return self._validators[kind]

    def _model(self, kind: str) -> type[Section]:
        if SEPARATOR not in kind and kind not in self.models:
            context = {"kind": kind, "expected": self._registry.expected(kind)}
            raise PydanticCustomError("unknown_kind", "{expected}", context)
        try:
            model: type[Section] = self._registry.get(kind)
        except ConfigError as error:
            raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from error
        return model
