"""``registry.json``: the SuperNodes that may take part; written by ``fedproof federation``.

The coordinator service reads it again whenever it changes: an added participant is admitted, a
removed one excluded, without a restart. Bonds and rewards are on chain, not here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError
from coordinator.settings.base import AddressText, Name, Section
from coordinator.settings.load import validated

NodeKey = Annotated[
    str, Field(pattern=r"^ecdsa-sha2-nistp(256|384|521) [A-Za-z0-9+/=]{64,512}( [ -~]{0,256})?$")
]
"""One line of OpenSSH: type, base64, comment. Flower accepts only these curves."""


class RegisteredParticipant(Section):
    """One participant; without a ``node_key`` none of its SuperNodes is admitted yet."""

    name: Name
    address: AddressText
    node_key: NodeKey | Literal[""] = ""


class Registry(Section):
    """All participants, in the order in which they were added; names and keys are unique.

    ``removed_keys`` are the keys of removed nodes: Flower never admits such a key again.
    """

    format: Literal["fedproof-registry-1"] = "fedproof-registry-1"
    participants: list[RegisteredParticipant] = Field(default=[])
    removed_keys: list[NodeKey] = Field(default=[])

    @model_validator(mode="wrap")
    @classmethod
    def _unique(cls, raw: Any, handler: ModelWrapValidatorHandler["Registry"]) -> "Registry":
        registry = handler(raw)
        for fault in (*_repeats(registry.participants), *_returned(registry)):
            raise PydanticCustomError("contradiction", "{fault}", {"fault": fault})
        return registry

    def get(self, name: str) -> RegisteredParticipant | None:
        """Return a participant by name."""
        return next((p for p in self.participants if p.name == name), None)

    def to_json(self) -> bytes:
        """Return the file's bytes, as indented JSON."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def read_registry(path: Path) -> Registry:
    """Read ``registry.json``.

    Raises
    ------
    ConfigError
        If the file cannot be read or is malformed; names file, key, and what was expected.
    """
    try:
        raw = parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(raw).__name__}")
    return validated(Registry, raw, str(path))


def _bare(node_key: str) -> str:
    """Return a key without its comment."""
    return " ".join(node_key.split(" ")[:2])


def _returned(registry: Registry) -> Iterator[str]:
    removed = {_bare(key) for key in registry.removed_keys}
    for participant in registry.participants:
        if _bare(participant.node_key) in removed:
            yield (
                f"participants: node key of {participant.name} was removed before, and Flower "
                "never admits it again; it needs a new one (fedproof federation node-key)"
            )


def _repeats(participants: list[RegisteredParticipant]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for participant in participants:
        key = _bare(participant.node_key)
        unique = {
            f"name {participant.name}": participant.name,
            f"address {participant.address}": participant.address.lower(),
            f"node key of {participant.name}": key,
        }
        for what, value in unique.items():
            if value and value in seen:
                yield f"participants: {what} is there twice (also for {seen[value]})"
            seen[value] = participant.name


def registry_of(
    participants: list[RegisteredParticipant], removed_keys: Sequence[str] = ()
) -> Registry:
    """Return a registry; ``ConfigError`` if an entry repeats, or has a removed key."""
    fields = {
        "participants": [entry.model_dump() for entry in participants],
        "removed_keys": list(removed_keys),
    }
    return validated(Registry, fields, "registry.json")
