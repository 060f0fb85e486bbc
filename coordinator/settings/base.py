"""The base of all sections of settings: strictness, unions by ``kind``, money, names.

pydantic is used in this package only: the rest of the code gets numbers and core records.
"""

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from coordinator.protocol.amounts import ETHER, GWEI

WEI_PER_UNIT = {"wei": 1, "gwei": GWEI, "ether": ETHER}
MAX_WEI = 2**96 - 1
"""The contract's own limit on any amount."""

_AMOUNT = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*([a-z]*)")


class Section(BaseModel):
    """A table of a settings file: no unknown keys, no coercion, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def by_kind(default: str) -> BeforeValidator:
    """Let a table omit its ``kind``; it is then ``default``."""

    def fill(raw: Any) -> Any:
        return {"kind": default, **raw} if isinstance(raw, dict) and "kind" not in raw else raw

    return BeforeValidator(fill)


def parse_wei(raw: Any) -> Any:
    """Read an amount of money.

    Parameters
    ----------
    raw
        Integer wei, or text with a unit: ``"10 ether"``, ``"5 gwei"``, ``"0.25 ether"``,
        ``"1000"`` (wei). TOML integers end at 63 bits, hence the text.

    Returns
    -------
    Integer wei; anything that is neither integer nor text unchanged, for pydantic to refuse.

    Raises
    ------
    PydanticCustomError
        If the text is not an amount, or not a whole number of wei.

    Examples
    --------
    >>> parse_wei("1.5 gwei")
    1500000000
    """
    if not isinstance(raw, str):
        return raw
    match = _AMOUNT.fullmatch(raw.strip().lower())
    unit = WEI_PER_UNIT.get((match[2] or "wei") if match else "")
    if match is None or unit is None:
        raise PydanticCustomError(
            "wei", 'expected integer wei or text like "10 ether", "5 gwei" or "1000 wei"'
        )
    amount = Fraction(match[1].replace("_", "")) * unit
    if amount.denominator != 1:
        raise PydanticCustomError("wei", "expected a whole number of wei")
    return int(amount)


_AS_TEXT = PlainSerializer(str, return_type=str, when_used="json")
"""Decimal text in JSON: many parsers keep only 53 bits of a number."""

WeiAmount = Annotated[int, Field(ge=0, le=MAX_WEI), BeforeValidator(parse_wei), _AS_TEXT]
"""Wei, non-negative."""

PositiveWei = Annotated[int, Field(ge=1, le=MAX_WEI), BeforeValidator(parse_wei), _AS_TEXT]
"""Wei, positive."""

ClientIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
"""Client numbers, from 0."""

AddressText = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
"""Address of an account or a contract, in upper, lower or mixed case."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Name of a federation or a participant."""

Widths = Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(min_length=1, max_length=8)]
"""Of a model's layers."""

Port = Annotated[int, Field(ge=0, le=65_535)]
"""A TCP port."""
