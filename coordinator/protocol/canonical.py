"""Canonical JSON: exactly one byte string for each plain value.

Sorted keys, no spaces, ASCII (other characters as ``\\uXXXX``), integers in decimal, floats as the
shortest digits that round-trip (Python's ``repr``), so ``1`` and ``1.0`` differ. This is not RFC
8785, which writes 1.0 as 1 and loses integers above 2**53 (ADR 30). NaN and infinities have no JSON
and are refused. Not handled: dates, bytes, NumPy values; convert them to plain values first.
"""

import json
import math
import re
from typing import Any

from coordinator.protocol.errors import ConfigError, VerificationError

MAX_DEPTH = 32

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def canonical_json(obj: Any) -> bytes:
    """Return the canonical JSON bytes of plain values.

    Parameters
    ----------
    obj
        ``None``, ``bool``, ``int``, finite ``float``, ``str``, or lists, tuples and string-keyed
        dicts of these, at most 32 deep.

    Raises
    ------
    ConfigError
        If a value has no canonical form; the message gives its place.

    Examples
    --------
    >>> canonical_json({"b": [1, 2.5, None], "a": "é"})
    b'{"a":"\\\\u00e9","b":[1,2.5,null]}'
    """
    _check_plain(obj, "$", 0)
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def parse_json(data: bytes, place: str) -> Any:
    """Parse untrusted JSON; ``place`` names it in errors.

    Nesting is counted before parsing: the standard parser recurses, py-evm's dependencies raise the
    recursion limit to 100,000, and so a few kilobytes of ``[`` would crash the process (ADR 30).

    Raises
    ------
    VerificationError
        If the data is not UTF-8 JSON, or nested deeper than 32.

    Examples
    --------
    >>> parse_json(b'{"a": [1, "]"]}', "example")
    {'a': [1, ']']}
    """
    depth = deepest = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH + 1:
        raise VerificationError(
            f"{place}: JSON nested {deepest} deep, expected at most {MAX_DEPTH}"
        )
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise VerificationError(f"{place}: not JSON ({error})") from error


def _check_plain(obj: Any, place: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError(f"canonical JSON: {place} is nested deeper than {MAX_DEPTH} levels")
    if obj is None or type(obj) in (bool, int, str):
        return
    if type(obj) is float:
        if not math.isfinite(obj):
            raise ConfigError(f"canonical JSON: {place} is {obj!r}, expected a finite number")
        return
    if isinstance(obj, dict):
        for key, value in obj.items():
            if type(key) is not str:
                raise ConfigError(
                    f"canonical JSON: {place} has the key {key!r}, expected string keys"
                )
            _check_plain(value, f"{place}.{key}", depth + 1)
        return
    if isinstance(obj, list | tuple):
        for index, value in enumerate(obj):
            _check_plain(value, f"{place}[{index}]", depth + 1)
        return
    raise ConfigError(
        f"canonical JSON: {place} is a {type(obj).__name__}, expected null, a boolean, "
        "a number, a string, a list or an object"
    )
