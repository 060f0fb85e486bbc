"""JSON-RPC methods that read the chain and send transactions."""

import importlib.metadata
import platform
from typing import Any, Final

from eth_utils.crypto import keccak

from contracts.node.calls import CallRequest
from contracts.node.chain_view import PENDING
from contracts.node.reader import BlockView
from contracts.node.records import CallResult, TransactionRecord
from contracts.node.rpc_context import MethodTable, RpcContext
from contracts.node.rpc_errors import EXECUTION_REVERTED, SERVER_ERROR, RpcError, invalid_params
from contracts.node.rpc_format import block_json, hex_data, receipt_json, transaction_json
from contracts.node.rpc_params import (
    LATEST,
    BlockId,
    Param,
    address,
    block_id,
    block_number,
    boolean,
    call_request,
    data,
    hash32,
    nothing,
    percentiles,
    quantity,
)
from contracts.node.sqlite_file import SCHEMA_VERSION
from coordinator.protocol.types import Address, JsonObject

READ_METHODS: Final = MethodTable()
MAX_FEE_HISTORY: Final = 1024

_at = Param("block", block_id, LATEST)
_number = Param("block", block_number)
_hash = Param("hash", hash32)
_account = Param("address", address)
_full = Param("full", boolean, False)
_index = Param("index", quantity)


@READ_METHODS("web3_clientVersion")
def _client_version(_: RpcContext) -> str:
    engine = importlib.metadata.version("py-evm")
    return f"fedproof/chain-v{SCHEMA_VERSION}/py-evm-{engine}/python-{platform.python_version()}"


@READ_METHODS("web3_sha3", Param("data", data))
def _sha3(_: RpcContext, given: bytes) -> str:
    return hex_data(keccak(given))


@READ_METHODS("net_version")
def _net_version(context: RpcContext) -> str:
    return str(context.node.genesis.chain_id)


@READ_METHODS("net_listening")
def _net_listening(_: RpcContext) -> bool:
    return True


@READ_METHODS("net_peerCount")
def _net_peer_count(_: RpcContext) -> str:
    return "0x0"


@READ_METHODS("eth_chainId")
def _chain_id(context: RpcContext) -> str:
    return hex(context.node.genesis.chain_id)


@READ_METHODS("eth_blockNumber")
def _block_number(context: RpcContext) -> str:
    return hex(context.node.head_number)


@READ_METHODS("eth_syncing")
def _syncing(_: RpcContext) -> bool:
    return False


@READ_METHODS("eth_accounts")
def _accounts(_: RpcContext) -> list[str]:
    return []  # the node holds no keys


@READ_METHODS("eth_coinbase")
def _coinbase(context: RpcContext) -> str:
    return context.node.genesis.coinbase


@READ_METHODS("eth_gasPrice")
def _gas_price(context: RpcContext) -> str:
    return hex(context.node.next_base_fee_wei)


@READ_METHODS("eth_maxPriorityFeePerGas")
def _max_priority_fee(_: RpcContext) -> str:
    return "0x0"  # one producer, blocks in order of arrival: a tip buys nothing


@READ_METHODS("eth_blobBaseFee")
def _blob_base_fee(_: RpcContext) -> str:
    return "0x1"  # the protocol's minimum; no block holds blobs


@READ_METHODS("eth_getBalance", _account, _at)
def _get_balance(context: RpcContext, account: Address, at: BlockId) -> str:
    return hex(context.node.get_balance(account, context.resolve(at)))


@READ_METHODS("eth_getTransactionCount", _account, _at)
def _get_transaction_count(context: RpcContext, account: Address, at: BlockId) -> str:
    if at == PENDING:
        return hex(context.pool.next_nonce(account))
    return hex(context.node.get_nonce(account, context.resolve(at)))


@READ_METHODS("eth_getCode", _account, _at)
def _get_code(context: RpcContext, account: Address, at: BlockId) -> str:
    state = context.node.state(context.resolve(at))
    return hex_data(state.get_code(bytes.fromhex(account[2:])))  # type: ignore[arg-type]


@READ_METHODS("eth_getStorageAt", _account, Param("slot", quantity), _at)
def _get_storage_at(context: RpcContext, account: Address, slot: int, at: BlockId) -> str:
    state = context.node.state(context.resolve(at))
    return f"0x{state.get_storage(bytes.fromhex(account[2:]), slot):064x}"  # type: ignore[arg-type]


@READ_METHODS(
    "eth_call", Param("transaction", call_request), _at, Param("overrides", nothing, None)
)
def _call(context: RpcContext, request: CallRequest, at: BlockId, _: None) -> str:
    _check_gas(context, request)
    result = context.node.call(request, context.resolve(at))
    return hex_data(_returned(result).output)


@READ_METHODS(
    "eth_estimateGas",
    Param("transaction", call_request),
    Param("block", block_id, PENDING),
    Param("overrides", nothing, None),
)
def _estimate_gas(context: RpcContext, request: CallRequest, at: BlockId, _: None) -> str:
    _check_gas(context, request)
    gas, result = context.node.estimate_gas(request, context.resolve(at))
    _returned(result)
    return hex(gas)


def _check_gas(context: RpcContext, request: CallRequest) -> None:
    most = context.node.genesis.gas_limit
    if request.gas > most:
        raise invalid_params("transaction.gas", hex(request.gas), f"at most {hex(most)}")


def _returned(result: CallResult) -> CallResult:
    if result.is_success:
        return result
    if result.is_revert:
        raise RpcError(EXECUTION_REVERTED, result.failure, hex_data(result.output))
    raise RpcError(SERVER_ERROR, result.failure)


@READ_METHODS("eth_sendRawTransaction", Param("data", data))
def _send_raw_transaction(context: RpcContext, raw: bytes) -> str:
    context.miner.check()
    transaction_hash = context.pool.add(raw)
    context.miner.transaction_added()
    return hex_data(transaction_hash)


@READ_METHODS("eth_getBlockByNumber", _number, _full)
@READ_METHODS("eth_getBlockByHash", _hash, _full)
def _get_block(context: RpcContext, block: BlockId, full: bool) -> JsonObject | None:
    view = context.view(block)
    if view is None:
        return None
    result = block_json(view, full=full)
    if block == PENDING:
        result.update(hash=None, nonce=None, logsBloom=None, miner=None)
    return result


@READ_METHODS("eth_getBlockTransactionCountByNumber", _number)
@READ_METHODS("eth_getBlockTransactionCountByHash", _hash)
def _get_block_transaction_count(context: RpcContext, block: BlockId) -> str | None:
    view = context.view(block)
    return None if view is None else hex(len(view.transactions))


@READ_METHODS("eth_getBlockReceipts", Param("block", block_id))
def _get_block_receipts(context: RpcContext, block: BlockId) -> list[JsonObject] | None:
    view = context.view(block)
    return None if view is None else [receipt_json(receipt) for receipt in view.receipts]


@READ_METHODS("eth_getTransactionByHash", _hash)
def _get_transaction_by_hash(context: RpcContext, wanted: bytes) -> JsonObject | None:
    record = _find(context, wanted)
    return None if record is None else transaction_json(record)


@READ_METHODS("eth_getRawTransactionByHash", _hash)
def _get_raw_transaction_by_hash(context: RpcContext, wanted: bytes) -> str | None:
    record = _find(context, wanted)
    return None if record is None else hex_data(record.raw)


def _find(context: RpcContext, wanted: bytes) -> TransactionRecord | None:
    return context.node.get_transaction(wanted) or context.pool.get(wanted)


@READ_METHODS("eth_getTransactionByBlockNumberAndIndex", _number, _index)
@READ_METHODS("eth_getTransactionByBlockHashAndIndex", _hash, _index)
def _get_transaction_by_index(context: RpcContext, block: BlockId, index: int) -> JsonObject | None:
    view = context.view(block)
    if view is None or index >= len(view.transactions):
        return None
    return transaction_json(view.transactions[index])


@READ_METHODS("eth_getTransactionReceipt", _hash)
def _get_transaction_receipt(context: RpcContext, wanted: bytes) -> JsonObject | None:
    receipt = context.node.get_receipt(wanted)
    return None if receipt is None else receipt_json(receipt)


@READ_METHODS(
    "eth_feeHistory",
    Param("blockCount", quantity),
    Param("newestBlock", block_number),
    Param("rewardPercentiles", percentiles, []),
)
def _fee_history(
    context: RpcContext, count: int, newest: int | str, wanted: list[float]
) -> dict[str, Any]:
    head = context.node.head_number
    last = head if isinstance(newest, str) else newest
    if last > head:
        raise RpcError(SERVER_ERROR, f"newestBlock {last} is beyond the head, {head}")
    first = max(0, last - min(count, MAX_FEE_HISTORY) + 1)
    views = [view for n in range(first, last + 1) if (view := context.node.view(n)) is not None]
    after = context.node.view(last + 1)
    next_fee = context.node.next_base_fee_wei if after is None else after.block.base_fee_wei
    result: dict[str, Any] = {
        "oldestBlock": hex(first),
        "baseFeePerGas": [hex(fee) for fee in (*(v.block.base_fee_wei for v in views), next_fee)],
        "gasUsedRatio": [view.block.gas_used / view.block.gas_limit for view in views],
        "baseFeePerBlobGas": ["0x1"] * (len(views) + 1),
        "blobGasUsedRatio": [0.0] * len(views),
    }
    if wanted:
        result["reward"] = [_tips(view, wanted) for view in views]
    return result


def _tips(view: BlockView, wanted: list[float]) -> list[str]:
    """Return the tip per gas at each percentile of the block's gas."""
    paid = sorted(
        (receipt.effective_gas_price - view.block.base_fee_wei, receipt.gas_used)
        for receipt in view.receipts
    )
    tips: list[str] = []
    for percentile in wanted:
        threshold = view.block.gas_used * percentile / 100
        gas, tip = 0, 0
        for tip, gas_used in paid:  # noqa: B007 -- the tip reached last is the answer
            gas += gas_used
            if gas >= threshold:
                break
        tips.append(hex(tip))
    return tips
