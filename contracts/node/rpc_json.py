"""The JSON of Ethereum's JSON-RPC: parsing of parameters, encoding of records, error codes.

Quantities are hex without leading zeros and data is hex of whole bytes (execution-apis). Quantities
with leading zeros are accepted, since clients send them. Errors name the bad parameter.
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

from contracts.blocks import LogRecord, TxReceipt
from contracts.node.reader import BlockView, FoundLog
from contracts.node.records import (
    PENDING,
    ZERO_ADDRESS,
    BlockRecord,
    CallRequest,
    TransactionRecord,
)
from coordinator.protocol.types import Address, JsonObject

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
EXECUTION_REVERTED: Final = 3


class RpcError(Exception):
    """An error in the answer to a client.

    Attributes
    ----------
    code, message, data
        Members of the JSON-RPC error object; ``data`` is omitted if ``None``.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """Return the error object."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def invalid_params(name: str, value: object, expected: str) -> RpcError:
    """Return the error for one bad parameter; long values are shortened."""
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return RpcError(INVALID_PARAMS, f"invalid params: {name}: found {shown}, expected {expected}")


BlockId = int | bytes | str
"""A number, a hash, or :data:`~contracts.node.records.PENDING`."""
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
    """One positional parameter: its name, its parser, and its default."""

    name: str
    parse: Callable[[Any, str], Any]
    default: Any = _REQUIRED

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
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

    ``"latest"`` is returned unchanged; there are no reorganisations, so ``"safe"`` and
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
    """Parse the transaction object of a call."""
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
    """Parse feeHistory's percentiles: numbers from 0 to 100 in ascending order."""
    if not isinstance(value, list) or len(value) > 100:
        raise invalid_params(name, value, "a list of at most 100 numbers")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item <= 100:
            raise invalid_params(name, item, "a number from 0 to 100")
    if value != sorted(value):
        raise invalid_params(name, value, "numbers in ascending order")
    return [float(item) for item in value]


def nothing(value: Any, name: str) -> None:
    """Accept an absent or empty value only."""
    if value not in (None, {}, []):
        raise invalid_params(name, value, "nothing: this is not supported")


def hex_data(data: bytes) -> str:
    """Return bytes as ``0x`` hex."""
    return f"0x{data.hex()}"


def block_json(view: BlockView, *, full: bool) -> JsonObject:
    """Return a block; with ``full``, its transactions as objects."""
    transactions: list[Any] = (
        [transaction_json(record) for record in view.transactions]
        if full
        else [hex_data(record.hash) for record in view.transactions]
    )
    return {**header_json(view.block), "transactions": transactions}


def header_json(block: BlockRecord) -> JsonObject:
    """Return a block's fields without its transactions, with all that the hash covers."""
    return {
        "number": hex(block.number),
        "hash": hex_data(block.hash),
        "parentHash": hex_data(block.parent_hash),
        "timestamp": hex(block.timestamp),
        "miner": block.coinbase,
        "gasLimit": hex(block.gas_limit),
        "gasUsed": hex(block.gas_used),
        "baseFeePerGas": hex(block.base_fee_wei),
        "stateRoot": hex_data(block.state_root),
        "transactionsRoot": hex_data(block.transactions_root),
        "receiptsRoot": hex_data(block.receipts_root),
        "withdrawalsRoot": hex_data(block.withdrawals_root),
        "withdrawals": [],
        "requestsHash": hex_data(block.requests_hash),
        "parentBeaconBlockRoot": hex_data(block.parent_beacon_block_root),
        "sha3Uncles": hex_data(block.uncles_hash),
        "uncles": [],
        "mixHash": hex_data(block.mix_hash),
        "nonce": hex_data(block.nonce),
        "difficulty": "0x0",
        "extraData": hex_data(block.extra_data),
        "logsBloom": _bloom(block.bloom),
        "blobGasUsed": hex(block.blob_gas_used),
        "excessBlobGas": hex(block.excess_blob_gas),
        "size": hex(block.size_bytes),
    }


def transaction_json(record: TransactionRecord) -> JsonObject:
    """Return a mined or pending transaction."""
    price = record.effective_gas_price
    result: JsonObject = {
        "hash": hex_data(record.hash),
        "type": hex(record.type_id),
        "chainId": hex(record.chain_id),
        "from": record.sender,
        "to": record.to,
        "nonce": hex(record.nonce),
        "value": hex(record.value_wei),
        "gas": hex(record.gas),
        "gasPrice": hex(record.max_fee_wei if price is None else price),
        "input": hex_data(record.data),
        "v": hex(record.v),
        "r": hex(record.r),
        "s": hex(record.s),
        "blockNumber": _or_null(record.block_number),
        "blockHash": None if record.block_hash is None else hex_data(record.block_hash),
        "transactionIndex": _or_null(record.index),
    }
    if record.type_id >= 1:
        result["accessList"] = [
            {"address": account, "storageKeys": [f"0x{slot:064x}" for slot in slots]}
            for account, slots in record.access_list
        ]
        result["yParity"] = hex(record.v)
    if record.type_id >= 2:
        result["maxFeePerGas"] = hex(record.max_fee_wei)
        result["maxPriorityFeePerGas"] = hex(record.max_priority_fee_wei)
    return result


def receipt_json(receipt: TxReceipt) -> JsonObject:
    """Return a receipt with its logs."""
    return {
        "transactionHash": hex_data(receipt.transaction_hash),
        "transactionIndex": hex(receipt.transaction_index),
        "blockNumber": hex(receipt.block_number),
        "blockHash": hex_data(receipt.block_hash),
        "from": receipt.sender,
        "to": receipt.to,
        "status": hex(receipt.status),
        "type": hex(receipt.type_id),
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.cumulative_gas_used),
        "effectiveGasPrice": hex(receipt.effective_gas_price),
        "contractAddress": receipt.contract_address,
        "logs": [log_json(log, receipt) for log in receipt.logs],
        "logsBloom": _bloom(receipt.bloom),
    }


def log_json(log: LogRecord, receipt: TxReceipt) -> JsonObject:
    """Return an event with its place."""
    return {
        "address": log.address,
        "topics": [hex_data(topic) for topic in log.topics],
        "data": hex_data(log.data),
        "logIndex": hex(log.index),
        "transactionHash": hex_data(receipt.transaction_hash),
        "transactionIndex": hex(receipt.transaction_index),
        "blockNumber": hex(receipt.block_number),
        "blockHash": hex_data(receipt.block_hash),
        "removed": False,
    }


def found_log_json(match: FoundLog) -> JsonObject:
    """Return a log from a search."""
    return log_json(match.log, match.receipt)


def _bloom(bloom: int) -> str:
    return f"0x{bloom:0512x}"


def _or_null(number: int | None) -> str | None:
    return None if number is None else hex(number)
