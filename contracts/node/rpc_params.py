"""Parse the parameters of Ethereum JSON-RPC; a bad one is named in the error.

Quantities are hex without leading zeros and data is hex of whole bytes (execution-apis), but a
quantity with leading zeros is taken too: clients send them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    to_checksum_address,
)

from contracts.node.calls import CallRequest
from contracts.node.chain_view import PENDING
from contracts.node.genesis import ZERO_ADDRESS
from contracts.node.rpc_errors import invalid_params
from coordinator.protocol.types import Address

BlockId = int | bytes | str
"""A number, a hash, or :data:`~contracts.node.chain_view.PENDING`."""
LATEST: Final = "latest"

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*\Z")
_LATEST_TAGS: Final = (LATEST, "safe", "finalized")
_CALL_FIELDS: Final = frozenset(
    {
        *("from", "to", "gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "value"),
        *("data", "input", "nonce", "type", "chainId", "accessList"),
    }
)
_REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Param:
    """One positional parameter: its name, how it is parsed, and what stands in for it."""

    name: str
    parse: Callable[[Any, str], Any]
    default: Any = _REQUIRED

    @property
    def is_required(self) -> bool:
        """Whether it may not be left out."""
        return self.default is _REQUIRED


def quantity(value: Any, name: str) -> int:
    """Parse a hex quantity."""
    if isinstance(value, str) and _QUANTITY.match(value):
        return int(value, 16)
    raise invalid_params(name, value, "a hex quantity such as 0x1f")


def data(value: Any, name: str) -> bytes:
    """Parse hex bytes of any length."""
    if isinstance(value, str) and _DATA.match(value):
        return bytes.fromhex(value[2:])
    raise invalid_params(name, value, "0x and an even number of hex digits")


def hash32(value: Any, name: str) -> bytes:
    """Parse a 32-byte hash."""
    if isinstance(value, str) and len(value) == 66 and _DATA.match(value):
        return bytes.fromhex(value[2:])
    raise invalid_params(name, value, "0x and 64 hex digits")


def address(value: Any, name: str) -> Address:
    """Parse an address in any case; mixed case must be its checksum (EIP-55)."""
    if not (isinstance(value, str) and len(value) == 42 and _DATA.match(value)):
        raise invalid_params(name, value, "0x and 40 hex digits")
    if is_checksum_formatted_address(value) and not is_checksum_address(value):
        raise invalid_params(name, value, "a correct EIP-55 checksum")
    return Address(to_checksum_address(value))


def boolean(value: Any, name: str) -> bool:
    """Parse true or false."""
    if isinstance(value, bool):
        return value
    raise invalid_params(name, value, "true or false")


def block_id(value: Any, name: str) -> BlockId:
    """Parse a tag, a number, or EIP-1898's object.

    ``"latest"`` is returned as it is; there are no reorganisations, so ``"safe"`` and
    ``"finalized"`` mean the same.
    """
    if isinstance(value, dict):
        if set(value) <= {"blockHash", "requireCanonical"} and "blockHash" in value:
            return hash32(value["blockHash"], f"{name}.blockHash")
        if set(value) == {"blockNumber"}:
            return block_number(value["blockNumber"], f"{name}.blockNumber")
        raise invalid_params(name, value, "an object with blockHash or blockNumber")
    return block_number(value, name)


def block_number(value: Any, name: str) -> int | str:
    """Parse a tag or a number."""
    if value in _LATEST_TAGS:
        return LATEST
    if value == PENDING:
        return PENDING
    if value == "earliest":
        return 0
    if isinstance(value, str) and _QUANTITY.match(value):
        return int(value, 16)
    raise invalid_params(name, value, "a hex number or latest, earliest, pending, safe, finalized")


def call_request(value: Any, name: str) -> CallRequest:
    """Parse a transaction object to be executed without a trace."""
    if not isinstance(value, dict):
        raise invalid_params(name, value, "an object")
    if unknown := sorted(set(value) - _CALL_FIELDS):
        raise invalid_params(f"{name}.{unknown[0]}", value[unknown[0]], "no such field")
    given = {key: item for key, item in value.items() if item is not None}
    request = CallRequest(
        to=address(given["to"], f"{name}.to") if "to" in given else None,
        data=_call_data(given, name),
        sender=address(given["from"], f"{name}.from") if "from" in given else ZERO_ADDRESS,
        value_wei=quantity(given.get("value", "0x0"), f"{name}.value"),
    )
    if "gas" in given:
        return replace(request, gas=quantity(given["gas"], f"{name}.gas"))
    return request


def _call_data(given: dict[str, Any], name: str) -> bytes:
    old, new = given.get("data"), given.get("input")
    if old is not None and new is not None and old != new:
        raise invalid_params(f"{name}.input", new, f"the same as {name}.data, or only one of them")
    return data(new if new is not None else old if old is not None else "0x", f"{name}.data")


def raw_transactions(value: Any, name: str) -> list[bytes]:
    """Parse a list of raw transactions."""
    if not isinstance(value, list):
        raise invalid_params(name, value, "a list of hex strings")
    return [data(item, f"{name}[{index}]") for index, item in enumerate(value)]


def percentiles(value: Any, name: str) -> list[float]:
    """Parse feeHistory's percentiles: numbers 0 to 100 that do not fall."""
    if not isinstance(value, list) or len(value) > 100:
        raise invalid_params(name, value, "a list of at most 100 numbers")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item <= 100:
            raise invalid_params(name, item, "a number from 0 to 100")
    if value != sorted(value):
        raise invalid_params(name, value, "numbers in rising order")
    return [float(item) for item in value]


def nothing(value: Any, name: str) -> None:
    """Accept an absent or empty value only."""
    if value not in (None, {}, []):
        raise invalid_params(name, value, "nothing: this is not supported")
