"""Results and logs are read as ``eth_abi`` reads them, and refused where bytes are missing."""

from typing import Any

import pytest
from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from contracts.binding.artifacts import FunctionAbi

STATIC = ("uint256", "int256", "uint64", "int24", "uint8", "bool", "address", "bytes32", "bytes4")
KINDS = st.recursive(
    st.sampled_from(STATIC),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({','.join(parts)})"),
    max_leaves=6,
)
VALUES = {
    "uint8[]": st.lists(st.integers(0, 255), max_size=3),
    "bytes": st.binary(max_size=70),
    "(bool,bytes)": st.tuples(st.booleans(), st.binary(max_size=40)),
    "(address,uint256)[]": st.lists(
        st.tuples(st.just("0x" + "ab" * 20), st.integers(0, 2**256 - 1)), max_size=3
    ),
    "int24[3]": st.lists(st.integers(-(2**23), 2**23 - 1), min_size=3, max_size=3),
    "bytes[2]": st.lists(st.binary(max_size=40), min_size=2, max_size=2),
    "uint256": st.integers(0, 2**256 - 1),
}


def function(*outputs: str) -> FunctionAbi:
    return FunctionAbi("f", bytes(4), (), outputs)


def checksummed(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(checksummed(item) for item in value)
    is_address = isinstance(value, str)
    return to_checksum_address(value) if is_address else value


@given(st.lists(KINDS, min_size=1, max_size=4), st.data())
def test_words_are_read_as_eth_abi_reads_them(kinds: list[str], data: st.DataObject) -> None:
    count = sum(kind.count(",") + 1 for kind in kinds)
    words = st.sampled_from([bytes(32), b"\xff" * 32, bytes(31) + b"\1", bytes(12) + b"\x9a" * 20])
    pieces = data.draw(st.lists(words, min_size=count - 1, max_size=count + 1))
    raw = b"".join(pieces)
    try:
        expected = checksummed(decode(kinds, raw))
    except DecodingError:
        with pytest.raises(DecodingError):
            function(*kinds).decode_result(raw)
    else:
        assert function(*kinds).decode_result(raw) == expected


@given(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4), st.data())
def test_arrays_and_bytes_are_read_as_eth_abi_reads_them(
    kinds: list[str], data: st.DataObject
) -> None:
    values = [data.draw(VALUES[kind]) for kind in kinds]
    raw = encode(kinds, values)
    assert function(*kinds).decode_result(raw) == checksummed(decode(kinds, raw))


@pytest.mark.parametrize("kind", ["uint256[]", "uint256[2]", "bytes", "(uint256,bytes)"])
def test_missing_bytes_are_refused(kind: str) -> None:
    value = {"bytes": b"abc", "(uint256,bytes)": (1, b"abc")}.get(kind, [1, 2])
    raw = encode([kind], [value])
    needed = len(raw) - 29 if "bytes" in kind else len(raw)
    assert function(kind).decode_result(raw[:needed]) == checksummed(decode([kind], raw))
    for size in range(needed):
        with pytest.raises(DecodingError):
            function(kind).decode_result(raw[:size])


@pytest.mark.parametrize("kind", ["uint256[]", "bytes"])
def test_a_length_or_an_offset_beyond_the_data_is_refused(kind: str) -> None:
    raw = encode([kind], [b"abc" if kind == "bytes" else [1, 2]])
    huge = b"\xff" * 32
    for hostile in (huge + raw[32:], raw[:32] + huge + raw[64:]):
        with pytest.raises(DecodingError):
            function(kind).decode_result(hostile)


def test_values_at_the_ends_of_their_types() -> None:
    kinds = ("(int24,(bool,bytes4))", "address", "uint64")
    values = ((-(2**23), (True, b"abcd")), "0x" + "ab" * 20, 2**64 - 1)
    read = function(*kinds).decode_result(encode(kinds, values))
    assert read == ((-(2**23), (True, b"abcd")), to_checksum_address("0x" + "ab" * 20), 2**64 - 1)
    dynamic = function("uint256[]", "uint8").decode_result(
        encode(("uint256[]", "uint8"), ([1, 2], 3))
    )
    assert dynamic == ((1, 2), 3)
