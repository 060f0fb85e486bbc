"""Committed ABI and bytecode, and encoding and decoding by them. Vyper is not needed.

Encoding uses ``eth_abi`` directly rather than web3's contract objects: the same bytes in a fraction
of the time, which matters with hundreds of transactions per block (ADR 0016).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from contracts.binding.abi_decoding import decode, decode_call
from coordinator.protocol.errors import ConfigError

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
            If the data is not a result of the function.
        """
        return decode(self.outputs, data)

    def decode_arguments(self, calldata: bytes) -> tuple[Any, ...]:
        """Return the arguments of a call that a contract accepted; see :func:`decode_call`.

        Raises
        ------
        eth_abi.exceptions.DecodingError
            If it is not a call of the function, or a contract cannot have accepted it.
        """
        if calldata[:4] != self.selector:
            raise DecodingError(f"{self.name}: another selector, 0x{calldata[:4].hex()}")
        return decode_call(self.inputs, calldata)


@dataclass(frozen=True, slots=True)
class EventAbi:
    """One event: its topic, and the types of its fields, indexed ones first."""

    name: str
    topic: bytes
    indexed: tuple[str, ...]
    plain: tuple[str, ...]

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> tuple[Any, ...]:
        """Return the fields in ABI order.

        Raises
        ------
        eth_abi.exceptions.DecodingError
            If it is not a log of the event.
        """
        if len(topics) != 1 + len(self.indexed):
            raise DecodingError(f"{len(topics)} topics, expected {1 + len(self.indexed)}")
        return decode(self.indexed, b"".join(topics[1:])) + decode(self.plain, data)


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
        """Return bytecode and encoded constructor arguments, the data of its deployment."""
        return self.bytecode + encode(self.constructor, arguments)


def _types(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(abi_type(entry) for entry in entries)


def _function(entry: Mapping[str, Any]) -> FunctionAbi:
    inputs = _types(entry["inputs"])
    signature = f"{entry['name']}({','.join(inputs)})"
    return FunctionAbi(entry["name"], keccak(text=signature)[:4], inputs, _types(entry["outputs"]))


def _event(entry: Mapping[str, Any]) -> EventAbi:
    kinds = _types(entry["inputs"])
    flags = [bool(field["indexed"]) for field in entry["inputs"]]
    if flags != sorted(flags, reverse=True):
        raise ConfigError(f"event {entry['name']}: an indexed field is after one that is not")
    topic = keccak(text=f"{entry['name']}({','.join(kinds)})")
    return EventAbi(entry["name"], topic, kinds[: sum(flags)], kinds[sum(flags) :])


def artifact_from_json(document: Mapping[str, Any]) -> Artifact:
    """Build an artifact from the result of :func:`contracts.compile.compile_contract`."""
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
