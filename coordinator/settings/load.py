"""From a TOML file to a checked record; every mistake is one line that names file and key."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from coordinator.protocol.errors import ConfigError
from coordinator.settings.faults import describe

Settings = TypeVar("Settings", bound=BaseModel)


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
    """Check plain values against a schema; ``source`` and ``overridden`` are for the message.

    Raises
    ------
    ConfigError
        Naming the first fault and counting the others.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(describe(error, source, overridden, schema)) from error


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        Naming the file and where in it the mistake is.
    """
    text = ""
    try:
        text = file.read_bytes().decode("utf-8-sig")  # some editors begin a file with a mark
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
