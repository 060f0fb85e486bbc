"""JSON-RPC methods for development: mining, time and snapshots at a client's word.

They are in the dispatcher's table only when the node was started for development.
"""

from typing import Any, Final

from contracts.node.records import MinedBlock
from contracts.node.rpc_context import MethodTable, RpcContext
from contracts.node.rpc_errors import invalid_params
from contracts.node.rpc_format import hex_data, receipt_json
from contracts.node.rpc_params import Param, quantity, raw_transactions
from coordinator.protocol.types import JsonObject

DEV_METHODS: Final = MethodTable()


def number(value: Any, name: str) -> int:
    """Parse a JSON number or a hex quantity: tools send either to these methods."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        return quantity(value, name)
    raise invalid_params(name, value, "a non-negative number or a hex quantity")


@DEV_METHODS("evm_mine", Param("timestamp", number, None))
def _mine(context: RpcContext, timestamp: int | None) -> str:
    context.pool.mine(timestamp=timestamp)
    return "0x0"


@DEV_METHODS("evm_increaseTime", Param("seconds", number))
def _increase_time(context: RpcContext, seconds: int) -> str:
    context.node.timer.increase(seconds)
    return hex(seconds)


@DEV_METHODS("evm_setNextBlockTimestamp", Param("timestamp", number))
def _set_next_block_timestamp(context: RpcContext, timestamp: int) -> None:
    context.node.timer.set_next(timestamp, context.node.head.timestamp)


@DEV_METHODS("evm_snapshot")
def _snapshot(context: RpcContext) -> str:
    return hex(context.node.snapshot())


@DEV_METHODS("evm_revert", Param("snapshot", number))
def _revert(context: RpcContext, snapshot: int) -> bool:
    context.node.revert(snapshot)
    context.pool.clear()
    return True


@DEV_METHODS(
    "fedproof_mineBatch",
    Param("transactions", raw_transactions),
    Param("timestamp", number, None),
)
def _mine_batch(context: RpcContext, raw: list[bytes], timestamp: int | None) -> JsonObject:
    return mined_json(context.node.mine(raw, timestamp=timestamp))


def mined_json(block: MinedBlock) -> JsonObject:
    """Return a new block with its receipts and refusals."""
    return {
        "number": hex(block.number),
        "hash": hex_data(block.hash),
        "timestamp": hex(block.timestamp),
        "receipts": [
            {**receipt_json(receipt), "failure": receipt.failure} for receipt in block.receipts
        ],
        "refused": [
            {
                "index": bad.index,
                "transactionHash": hex_data(bad.transaction_hash),
                "code": bad.code,
                "message": bad.message,
            }
            for bad in block.refused
        ],
    }
