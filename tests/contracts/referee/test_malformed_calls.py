"""Calldata that is none: every function of every contract refuses it, and ether it does not take.

Values outside their types, lengths that lead out of the call, missing bytes. Nothing is judged and
nobody is convicted over them: the decoder refuses before the first line runs.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from dispute_world import COORDINATOR, DisputeWorld
from eth_abi import encode
from eth_abi.grammar import ABIType, TupleType, parse

from contracts.binding.artifacts import CONTRACTS, FunctionAbi, load_artifact
from contracts.node.records import CallRequest

WORD = 32
ONES = b"\xff" * WORD


def nothing(kind: ABIType) -> Any:
    """A value of a type: zeros, one element in every array."""
    if kind.is_array:
        size = kind.arrlist[-1]
        return [nothing(kind.item_type)] * (size[0] if size else 1)
    if isinstance(kind, TupleType):
        return tuple(nothing(component) for component in kind.components)
    if kind.base == "bytes":
        return bytes(kind.sub or 0)
    plain = {"address": "0x" + "00" * 20, "bool": False}
    return plain.get(kind.base, 0)


def narrow_words(kind: ABIType) -> Iterator[bool]:
    """For each word of a static type, whether some words are no value of it."""
    if kind.is_array:
        for _ in range(kind.arrlist[-1][0]):
            yield from narrow_words(kind.item_type)
    elif isinstance(kind, TupleType):
        for component in kind.components:
            yield from narrow_words(component)
    else:
        yield kind.base in ("address", "bool") or kind.sub not in (256, 32)


def malformed(function: FunctionAbi) -> Iterator[tuple[str, bytes]]:
    """Calls with one thing wrong each, and what."""
    kinds = [parse(kind) for kind in function.inputs]
    good = encode(function.inputs, [nothing(kind) for kind in kinds])
    at = 0
    for kind in kinds:
        if kind.is_dynamic:
            where = int.from_bytes(good[at : at + WORD], "big")
            yield "an offset out of the call", good[:at] + ONES + good[at + WORD :]
            yield "a length out of the call", good[:where] + ONES + good[where + WORD :]
            at += WORD
            continue
        for narrow in narrow_words(kind):
            if narrow:
                yield "a value outside its type", good[:at] + ONES + good[at + WORD :]
            at += WORD
    if good:
        yield "a missing byte", good[:-1] if not kinds[-1].is_dynamic else good[: at - 1]


def functions() -> Iterator[tuple[str, FunctionAbi]]:
    for contract in CONTRACTS:
        for function in load_artifact(contract).functions.values():
            yield contract, function


@pytest.fixture(scope="module")
def world() -> Iterator[DisputeWorld]:
    made = DisputeWorld.create()
    yield made
    made.node.close()


def address_of(world: DisputeWorld, contract: str) -> str:
    settings = world.referee.settings
    return {
        "federation": world.federation.address,
        "referee": world.referee.address,
        "aggregate_examiner": settings.aggregate_examiner,
        "record_examiner": settings.record_examiner,
    }[contract]


def fails(world: DisputeWorld, to: str, data: bytes, value: int = 0) -> bool:
    result = world.node.call(CallRequest(to, data, COORDINATOR.address, value))
    return not result.is_success and not result.output


@pytest.mark.parametrize(
    ("contract", "function"), functions(), ids=lambda value: getattr(value, "name", value)
)
def test_what_is_no_call_is_refused(
    world: DisputeWorld, contract: str, function: FunctionAbi
) -> None:
    to = address_of(world, contract)
    for what, data in malformed(function):
        assert fails(world, to, function.selector + data), what
    entry = next(e for e in load_artifact(contract).abi if e.get("name") == function.name)
    if entry["stateMutability"] != "payable":
        data = encode(function.inputs, [nothing(parse(kind)) for kind in function.inputs])
        assert fails(world, to, function.selector + data, value=1)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_function_that_is_not_there_is_refused(world: DisputeWorld, contract: str) -> None:
    to = address_of(world, contract)
    for data in (b"", b"\1", b"\1\2\3", b"\1\2\3\4", bytes(68)):
        assert fails(world, to, data)
        assert fails(world, to, data, value=1)
