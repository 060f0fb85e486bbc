"""Generation of the typed event classes in ``contracts.binding`` from a contract's ABI.

``python -m contracts.compile`` writes them; a test compares. Their docstrings are the comments
above the events in the contract's source. Not handled: the records of views, which carry units and
names that the ABI does not have (ADR 0140).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import JsonObject

BINDING_FOLDER: Final = Path(__file__).parent / "binding"
_EVENT: Final = re.compile(r"((?:^# .*\n)+)event (\w+):", re.MULTILINE)
_ROUNDS: Final = frozenset({"round", "parent"})
_AMOUNTS: Final = frozenset(
    {
        *("amount", "bond", "bounty", "budget", "cumulative", "deposit", "paid", "pledged_cum"),
        *("pool", "total_stake", "unbonding"),
    }
)
_TEXTS: Final = frozenset({"offence", "reason"})
"""Fields of 32 bytes that hold zero-padded ASCII; they get a property with the text."""


@dataclass(frozen=True, slots=True)
class EventModule:
    """A generated module: which contract's events, where, and the names of base and table."""

    contract: str
    file: str
    base: str
    table: str
    docstring: str

    @property
    def path(self) -> Path:
        """Where the module is."""
        return BINDING_FOLDER / self.file


MODULES: Final = (
    EventModule(
        "federation",
        "events.py",
        "FederationEvent",
        "EVENT_TYPES",
        "The federation's events as records. Replaying them rebuilds the contract's storage.",
    ),
    EventModule(
        "referee",
        "referee_events.py",
        "RefereeEvent",
        "REFEREE_EVENT_TYPES",
        "The referee's events as records.",
    ),
)


def event_comments(folder: Path) -> dict[str, list[str]]:
    """Return the comment lines above each event in the Vyper sources of a folder."""
    return {
        match[2]: [line.removeprefix("# ") for line in match[1].splitlines()]
        for path in sorted(folder.glob("*.vy"))
        for match in _EVENT.finditer(path.read_text())
    }


def render_events(
    module: EventModule, artifact: JsonObject, comments: Mapping[str, list[str]]
) -> str:
    """Return the source text of a module of event classes.

    Parameters
    ----------
    artifact
        What ``contracts/abi/`` holds of the contract.
    comments
        As from :func:`event_comments`.

    Raises
    ------
    ConfigError
        If an event has no comment, or a field a type that no class here has a type for.
    """
    events = [entry for entry in artifact["abi"] if entry["type"] == "event"]
    classes = "\n\n\n".join("\n".join(_event(module, event, comments)) for event in events)
    names = "".join(
        f"    {event['name']!r}: {event['name']},\n".replace("'", '"') for event in events
    )
    used = [
        name for name in ("Address", "RoundId", "Wei") if re.search(rf": {name}$", classes, re.M)
    ]
    terms = ", Terms" if ": Terms\n" in classes else ""
    return f'''"""{module.docstring}

Generated from ``contracts/abi/{module.contract}.json`` by ``python -m contracts.compile``: change
the contract, not this file. Amounts in wei, times in seconds of chain time; 32-byte digests as
``bytes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contracts.binding.records import ContractEvent{terms}
from coordinator.protocol.types import {", ".join(used)}


@dataclass(frozen=True, slots=True)
class {module.base}(ContractEvent):
    """Base of the {module.contract}'s events."""


{classes}


{module.table}: Final[Mapping[str, type[{module.base}]]] = {{
{names}}}
'''


def _event(
    module: EventModule, event: Mapping[str, Any], comments: Mapping[str, list[str]]
) -> Iterator[str]:
    name = event["name"]
    if name not in comments:
        raise ConfigError(f"{module.contract}: event {name} has no comment in the source")
    first, *rest = comments[name]
    yield "@dataclass(frozen=True, slots=True)"
    yield f"class {name}({module.base}):"
    if rest:
        yield from (f'    """{first}', "", *(f"    {line}" for line in rest), '    """')
    else:
        yield f'    """{first}"""'
    yield ""
    for field in event["inputs"]:
        yield f"    {field['name']}: {_type_of(name, field)}"
    for field in event["inputs"]:
        if field["name"] in _TEXTS:
            yield from _text_property(field["name"])


def _type_of(event: str, field: Mapping[str, Any]) -> str:
    name, kind = field["name"], field["type"]
    if re.fullmatch(r"u?int\d+", kind):
        return "RoundId" if name in _ROUNDS else "Wei" if name in _AMOUNTS else "int"
    plain = {"address": "Address", "bool": "bool", "bytes": "bytes", "bytes32": "bytes"}
    if kind in plain:
        return plain[kind]
    if (kind, name) == ("tuple", "terms"):
        return "Terms"
    raise ConfigError(f"event {event}: field {name} is {kind}, expected one of {', '.join(plain)}")


def _text_property(name: str) -> Iterator[str]:
    yield ""
    yield "    @property"
    yield f"    def {name}_text(self) -> str:"
    yield f'        """The {name} without its padding, bytes that are no ASCII escaped."""'
    yield f'        return self.{name}.rstrip(b"\\0").decode("ascii", "backslashreplace")'
