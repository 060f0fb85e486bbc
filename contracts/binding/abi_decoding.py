"""Decoding of the ABI: results, log data, and calldata of a contract.

:func:`decode` decodes results and log data from a node, which may send anything: missing bytes and
words outside their type are refused. :func:`decode_call` decodes calldata that a contract has
accepted, and accepts whatever a Vyper contract does: bytes after the end of the call are zero,
offsets may point anywhere, and wrap. Neither checks the padding after ``bytes``, since the EVM
does not (ADR 0140).

Not handled: bytes that no offset points to, and lengths above a contract's own bounds, which an ABI
does not state. Types nested in several dynamic arrays are decoded, but without a bound on how often
the same bytes are read; no contract here has such a type.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from eth_abi.exceptions import InsufficientDataBytes, NonEmptyPaddingBytes
from eth_abi.grammar import ABIType, BasicType, TupleType, parse
from eth_utils.address import to_checksum_address

WORD: Final = 32
SELECTOR: Final = 4
_WRAP: Final = 1 << 256
_ZEROS: Final = bytes(1 << 14)
"""Zeros read after the end of calldata; longer than the longest evidence the referee accepts."""

Read = Callable[[bytes, int, int, int], Any]
"""``(data, end of the sent bytes, start of the frame, position) -> value``."""


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Reads values of one type; ``size`` is the number of bytes in the head of a frame."""

    size: int
    read: Read


def decode(kinds: tuple[str, ...], data: bytes) -> tuple[Any, ...]:
    """Decode results or log data; bytes after the last value are ignored.

    Parameters
    ----------
    kinds
        ABI types, tuples written out.
    data
        The bytes from a node.

    Returns
    -------
    Integers, booleans, ``bytes``, addresses as EIP-55 strings; arrays and structs as tuples.

    Raises
    ------
    eth_abi.exceptions.DecodingError
        If bytes are missing, or a word is outside its type.

    Examples
    --------
    >>> decode(("uint8", "bool"), bytes(31) + b"\\x07" + bytes(31) + b"\\x01")
    (7, True)
    """
    values: tuple[Any, ...] = _checked(_frame(kinds), data, len(data), 0)
    return values


def decode_call(kinds: tuple[str, ...], calldata: bytes) -> tuple[Any, ...]:
    """Decode the arguments of a call that a contract accepted, selector included in ``calldata``.

    Parameters
    ----------
    kinds
        ABI types of the arguments, tuples written out.

    Returns
    -------
    The values that the contract decoded, as from :func:`decode`.

    Raises
    ------
    eth_abi.exceptions.DecodingError
        If a contract cannot have accepted the call.
    """
    values: tuple[Any, ...] = _checked(_frame(kinds), calldata + _ZEROS, len(calldata), SELECTOR)
    return values


@cache
def _frame(kinds: tuple[str, ...]) -> _Decoder:
    return _tuple([_decoder(parse(kind)) for kind in kinds])


def _checked(decoder: _Decoder, data: bytes, end: int, at: int) -> Any:
    _require(data, at, decoder.size)
    return decoder.read(data, end, at, at)


def _require(data: bytes, at: int, size: int) -> None:
    if at + size > len(data):
        raise InsufficientDataBytes(f"{len(data)} bytes, expected {size} at {at}")


def _decoder(kind: ABIType) -> _Decoder:
    content = _content(kind)
    if not kind.is_dynamic:
        return content

    def follow(data: bytes, end: int, frame: int, at: int) -> Any:
        offset = int.from_bytes(data[at : at + WORD], "big")
        # All bytes from the end on are zero, or missing, so the end stands for every later offset.
        return _checked(content, data, end, min((frame + offset) % _WRAP, end))

    return _Decoder(WORD, follow)


def _content(kind: ABIType) -> _Decoder:
    if kind.arrlist is not None:
        item, length = _decoder(kind.item_type), kind.arrlist[-1]
        return _tuple([item] * length[0]) if length else _list(item)
    if isinstance(kind, TupleType):
        return _tuple([_decoder(component) for component in kind.components])
    assert isinstance(kind, BasicType)
    if kind.base == "bytes" and kind.sub is None:
        return _Decoder(WORD, _bytes)
    return _Decoder(WORD, _word(kind.base, kind.sub))


def _tuple(members: list[_Decoder]) -> _Decoder:
    offsets, size = [], 0
    for member in members:
        offsets.append((member.read, size))
        size += member.size

    def read(data: bytes, end: int, _frame: int, at: int) -> tuple[Any, ...]:
        return tuple([read(data, end, at, at + offset) for read, offset in offsets])

    return _Decoder(size, read)


def _list(item: _Decoder) -> _Decoder:
    def read(data: bytes, end: int, _frame: int, at: int) -> tuple[Any, ...]:
        count, first = int.from_bytes(data[at : at + WORD], "big"), at + WORD
        _require(data, first, count * item.size)
        positions = range(first, first + count * item.size, item.size)
        return tuple([item.read(data, end, first, position) for position in positions])

    return _Decoder(WORD, read)


def _bytes(data: bytes, _end: int, _frame: int, at: int) -> bytes:
    size, first = int.from_bytes(data[at : at + WORD], "big"), at + WORD
    _require(data, first, size)
    return data[first : first + size]


def _word(base: str, sub: Any) -> Read:
    if base in ("uint", "int"):
        return _integer(sub, signed=base == "int")
    if base == "bytes":
        return _fixed_bytes(sub)
    plain: dict[str, Read] = {
        "address": lambda data, _end, _frame, at: _address(data[at : at + WORD]),
        "bool": lambda data, _end, _frame, at: _bool(data[at : at + WORD]),
    }
    return plain[base]


def _integer(bits: int, *, signed: bool) -> Read:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)

    def read(data: bytes, _end: int, _frame: int, at: int) -> int:
        value = int.from_bytes(data[at : at + WORD], "big", signed=signed)
        if not low <= value < high:
            raise NonEmptyPaddingBytes(f"{value}, expected {'' if signed else 'u'}int{bits}")
        return value

    return read


def _fixed_bytes(size: int) -> Read:
    padding = bytes(WORD - size)

    def read(data: bytes, _end: int, _frame: int, at: int) -> bytes:
        if data[at + size : at + WORD] != padding:
            raise NonEmptyPaddingBytes(f"0x{data[at : at + WORD].hex()}, expected bytes{size}")
        return data[at : at + size]

    return read


def _bool(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise NonEmptyPaddingBytes(f"{value}, expected a bool")
    return value == 1


@lru_cache(maxsize=1 << 14)
def _address(word: bytes) -> str:
    if any(word[:12]):
        raise NonEmptyPaddingBytes(f"0x{word.hex()}, expected an address")
    return to_checksum_address(word[12:])
