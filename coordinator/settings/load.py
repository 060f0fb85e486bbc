"""Reads a TOML file into a checked record; errors are one line that names file and key."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from coordinator.protocol.errors import ConfigError
from coordinator.settings.kinds import ByKind

Settings = TypeVar("Settings", bound=BaseModel)

Location = tuple[int | str, ...]

Schema = type[BaseModel]

_TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "name_or_table": "a name, or a table with its kind",
    "finite_number": "a finite number",
    "int_parsing_size": "a smaller integer",
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
    "too_short": ("at least this many entries:", "min_length"),
    "too_long": ("at most this many entries:", "max_length"),
    "string_too_short": ("at least this many characters:", "min_length"),
    "string_pattern_mismatch": ("text like", "pattern"),
}


def load_settings(schema: type[Settings], path: Path) -> Settings:
    """Read a TOML file as the settings of a schema.

    Raises
    ------
    ConfigError
        Naming file, key, what was found and what was expected.
    """
    return validated(schema, read_toml(path), str(path))


def validated(
    schema: type[Settings], raw: Mapping[str, Any], source: str, overridden: Sequence[str] = ()
) -> Settings:
    """Check plain values against a schema; ``source`` and ``overridden`` are named in errors.

    Raises
    ------
    ConfigError
        Naming the first fault and counting the others.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_describe(error, source, overridden, schema)) from error


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        Naming the file, and line and column of the error.
    """
    text = ""
    try:
        text = file.read_bytes().decode("utf-8-sig")  # some editors write a byte order mark
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: byte {error.start} is not UTF-8; expected a UTF-8 TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        # tomllib says "(at line L, column C)", but not which line the end of the document is.
        lines = text.split("\n")
        end = f"at line {len(lines)}, column {len(lines[-1]) + 1}, the end"
        message = str(error).replace("at end of document", end)
        raise ConfigError(f"{file}: malformed TOML: {message}") from error


def _describe(
    error: ValidationError, source: str, overridden: Sequence[str], schema: Schema
) -> str:
    """Return the one-line message for an invalid settings file.

    Parameters
    ----------
    error
        The validation error; the message describes its first fault and counts the others.
    source
        The file, for the start of the message.
    overridden
        Key paths set by ``--set`` or ``--seed``; a fault there is attributed to the option.
    schema
        The model that the file was validated against.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    kind, location = _split(first["loc"], schema)
    key = _dotted(location)
    option = next((k for k in overridden if key == k or key.startswith(f"{k}.")), None)
    place = f"{source} (--set {option})" if option else source
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{place}: {_message(dict(first), key, location, kind, schema)}{more}"


def _split(location: Location, schema: Schema) -> tuple[str | None, Location]:
    """Return the kind in an error's location, and the location without it."""
    depth = 2 if len(location) > 1 and isinstance(location[1], int) else 1
    if len(location) > depth:
        tag = str(location[depth])
        if options_of_kind(str(location[0]), tag, schema) is not None:
            return tag, (*location[:depth], *location[depth + 1 :])
    return None, location


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _message(
    fault: dict[str, Any], key: str, location: Location, kind: str | None, schema: Schema
) -> str:
    code, context = fault["type"], fault.get("ctx", {})
    if code == "contradiction":
        return str(context["fault"])
    if code == "kind":
        return f"{key}.kind: {context['reason']}"
    if code == "unknown_kind":
        return f'{key}.kind = "{context["kind"]}": {context["expected"]}'
    if code == "extra_forbidden":
        return f'unknown key "{key}"{_hint(location, kind, schema)}'
    if code == "missing":
        return f'key "{key}" is missing; {_kind_words(location, kind)} needs it'
    if code == "union_tag_not_found":
        return f'key "{key}.kind" is missing'
    value = _shown(fault["input"])
    if code == "union_tag_invalid":
        choices = [word.strip().strip("'") for word in context["expected_tags"].split(",")]
        tag = context["tag"]
        return f'{key}.kind = "{tag}": expected {_choices(choices)}{_closest(tag, choices)}'
    if code == "literal_error":
        return f"{key} = {value}: expected {str(context['expected']).replace(chr(39), chr(34))}"
    return f"{key} = {value}: {_expected(code, context, fault['msg'])}"


def _expected(code: str, context: Mapping[str, Any], message: str) -> str:
    if code in _TYPES:
        return f"expected {_TYPES[code]}"
    if code in _LIMITS:
        words, limit = _LIMITS[code]
        return f"expected {words} {context[limit]}"
    return message[0].lower() + message[1:]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        return "a table"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choices(choices: Sequence[str]) -> str:
    return " or ".join(f'"{choice}"' for choice in choices)


def _closest(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _kind_words(location: Location, kind: str | None) -> str:
    return f'{location[0]}.kind = "{kind}"' if kind else "the file"


def _hint(location: Location, kind: str | None, schema: Schema) -> str:
    """Return a hint for an unknown key: a similar key, or the kind that has it."""
    key, section = str(location[-1]), str(location[0])
    models: dict[str | None, type[BaseModel]] = {None: schema}
    if len(location) > 1:
        models = dict(_models(section, schema))
    own = models[kind] if kind in models else _model_of(section, str(kind), schema)
    assert own is not None, f"{section}.kind = {kind} read the table, so it is known"
    owners = [k for k, model in models.items() if k != kind and key in model.model_fields]
    if owners:
        return (
            f'; it belongs to {section}.kind = {_choices([str(k) for k in owners])}, not "{kind}"'
        )
    known = list(own.model_fields)
    close = _closest(key, known)
    return close or f"; known keys: {', '.join(known)}"


def options_by_kind(section: str, schema: Schema) -> dict[str, frozenset[str]]:
    """Return the option names of each ``kind`` of a section; empty for one without kinds."""
    if section not in schema.model_fields:
        return {}
    models = dict(_models(section, schema))
    return {str(kind): frozenset(m.model_fields) for kind, m in models.items() if kind is not None}


def options_of_kind(section: str, kind: str, schema: Schema) -> frozenset[str] | None:
    """Return the option names of a ``kind``, also ``module:name``; ``None`` if it is unknown."""
    if section not in schema.model_fields:
        return None
    model = _model_of(section, kind, schema)
    return None if model is None else frozenset(model.model_fields)


def _model_of(section: str, kind: str, schema: Schema) -> Schema | None:
    by_kind = _by_kind(section, schema)
    return dict(_models(section, schema)).get(kind) if by_kind is None else by_kind.model(kind)


def _models(section: str, schema: Schema) -> Iterator[tuple[str | None, Schema]]:
    """Yield (kind, model) of a section; a section without kinds yields (None, model)."""
    by_kind = _by_kind(section, schema)
    if by_kind is not None:
        yield from by_kind.models.items()
        return
    for model in _leaves(schema.model_fields[section].annotation):
        field = model.model_fields.get("kind")
        yield (get_args(field.annotation)[0] if field else None), model


def _by_kind(section: str, schema: Schema) -> ByKind | None:
    """Return the :class:`ByKind` of a section, or of a list's entries; ``None`` if it has none."""
    field = schema.model_fields[section]
    inner = [note for arg in get_args(field.annotation) for note in _notes(arg)]
    return next((note for note in (*field.metadata, *inner) if isinstance(note, ByKind)), None)


def _notes(annotation: Any) -> Sequence[Any]:
    notes: Sequence[Any] = getattr(annotation, "__metadata__", ())
    return notes


def _leaves(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _leaves(inner)
