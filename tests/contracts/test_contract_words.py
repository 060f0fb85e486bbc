"""Results of words, read fast: what ``eth_abi`` reads, and refused where it refuses."""

from typing import Any

import pytest
from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from contracts.binding.artifacts import FunctionAbi
from contracts.binding.words import word_reader

STATIC = ("uint256", "int256", "uint64", "int24", "uint8", "bool", "address", "bytes32", "bytes4")
KINDS = st.recursive(
    st.sampled_from(STATIC),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({','.join(parts)})"),
    max_leaves=6,
)


def function(*outputs: str) -> FunctionAbi:
    return FunctionAbi("f", bytes(4), (), outputs)


def checksummed(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(checksummed(item) for item in value)
    is_address = isinstance(value, str)
    return to_checksum_address(value) if is_address else value


@given(st.lists(KINDS, min_size=1, max_size=4), st.data())
def test_words_are_read_as_eth_abi_reads_them(kinds: list[str], data: st.DataObject) -> None:
    count, _ = word_reader(tuple(kinds)) or (0, None)
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


@pytest.mark.parametrize("kind", ["uint256[]", "uint256[2]", "bytes", "string", "(uint256,bytes)"])
def test_other_types_are_left_to_eth_abi(kind: str) -> None:
    assert word_reader((kind,)) is None


def test_values_at_the_ends_of_their_types() -> None:
    kinds = ("(int24,(bool,bytes4))", "address", "uint64")
    values = ((-(2**23), (True, b"abcd")), "0x" + "ab" * 20, 2**64 - 1)
    read = function(*kinds).decode_result(encode(kinds, values))
    assert read == ((-(2**23), (True, b"abcd")), to_checksum_address("0x" + "ab" * 20), 2**64 - 1)
    dynamic = function("uint256[]", "uint8").decode_result(
        encode(("uint256[]", "uint8"), ([1, 2], 3))
    )
    assert dynamic == ((1, 2), 3)
