"""Committed ABI and bytecode, and encoding against them. Vyper is not needed.

Encoding goes through ``eth_abi`` directly rather than web3's contract objects: the same bytes at
a fraction of the time, which counts with hundreds of transactions a block.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.binding.words import UnusualDataError, read_words, word_reader

ABI_FOLDER: Final = Path(__file__).parents[1] / "abi"
CONTRACTS: Final = ("federation", "aggregate_examiner", "record_examiner", "referee")
"""Contracts that are deployed; other files in ``src`` are modules of these."""


def abi_type(entry: Mapping[str, Any]) -> str:
    """Return the canonical type of an ABI parameter, tuples written out."""
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(abi_type(component) for component in entry["components"])
    return f"({inner}){kind[len('tuple') :]}"


def normalise(value: Any, kind: str) -> Any:
    """Return a decoded value with addresses in EIP-55 form and lists as tuples."""
    if kind == "address":
        return to_checksum_address(value)
    if isinstance(value, list | tuple):
        return tuple(value)
    return value


@dataclass(frozen=True, slots=True)
class FunctionAbi:
    """One external function: selector and types in ABI order."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode_call(self, arguments: Sequence[Any]) -> bytes:
        """Return calldata."""
        return self.selector + encode(self.inputs, arguments)

    def decode_result(self, data: bytes) -> tuple[Any, ...]:
        """Return the results as a tuple, whatever their number.

        Raises
        ------
        eth_abi.exceptions.DecodingError
            If the data is no result of the function.
        """
        words = word_reader(self.outputs)
        if words is not None:
            try:
                return tuple(read_words(data, *words))
            except UnusualDataError:
                pass  # eth_abi says what is wrong with it
        values = decode(self.outputs, data)
        return tuple(normalise(v, t) for v, t in zip(values, self.outputs, strict=True))


@dataclass(frozen=True, slots=True)
class EventAbi:
    """One event: its topic, and for each field name, type and whether it is a topic."""

    name: str
    topic: bytes
    fields: tuple[tuple[str, str, bool], ...]

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Return the fields by name, in ABI order."""
        plain = decode([kind for _, kind, indexed in self.fields if not indexed], data)
        from_topics, from_data = iter(topics[1:]), iter(plain)
        values: dict[str, Any] = {}
        for name, kind, indexed in self.fields:
            value = decode([kind], next(from_topics))[0] if indexed else next(from_data)
            values[name] = normalise(value, kind)
        return values


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract."""

    name: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes
    constructor: tuple[str, ...]
    functions: Mapping[str, FunctionAbi]
    events: Mapping[bytes, EventAbi]

    def creation_code(self, arguments: Sequence[Any]) -> bytes:
        """Return bytecode and encoded constructor arguments: the data that deploys it."""
        return self.bytecode + encode(self.constructor, arguments)


def _types(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(abi_type(entry) for entry in entries)


def _function(entry: Mapping[str, Any]) -> FunctionAbi:
    inputs = _types(entry["inputs"])
    signature = f"{entry['name']}({','.join(inputs)})"
    return FunctionAbi(entry["name"], keccak(text=signature)[:4], inputs, _types(entry["outputs"]))


def _event(entry: Mapping[str, Any]) -> EventAbi:
    kinds = _types(entry["inputs"])
    fields = tuple(
        (str(field["name"]), kind, bool(field["indexed"]))
        for field, kind in zip(entry["inputs"], kinds, strict=True)
    )
    return EventAbi(entry["name"], keccak(text=f"{entry['name']}({','.join(kinds)})"), fields)


def artifact_from_json(document: Mapping[str, Any]) -> Artifact:
    """Build an artifact from what :func:`contracts.compile.compile_contract` returns."""
    abi = document["abi"]
    functions = [_function(entry) for entry in abi if entry["type"] == "function"]
    events = [_event(entry) for entry in abi if entry["type"] == "event"]
    constructor = [_types(entry["inputs"]) for entry in abi if entry["type"] == "constructor"]
    return Artifact(
        name=document["contract"],
        abi=abi,
        bytecode=bytes.fromhex(document["bytecode"][2:]),
        constructor=constructor[0] if constructor else (),
        functions={function.name: function for function in functions},
        events={event.topic: event for event in events},
    )


@cache
def load_artifact(name: str) -> Artifact:
    """Return a committed artifact by contract name, e.g. ``"federation"``."""
    return artifact_from_json(json.loads((ABI_FOLDER / f"{name}.json").read_text()))
