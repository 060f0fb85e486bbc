"""The JSON-RPC methods: reading the chain, sending transactions, logs, development.

Filters belong to the node, not to a connection; if there are too many, the oldest is dropped. The
development methods (mining, time and snapshots on request) are in a separate table, which the
dispatcher includes only if they are enabled.
"""

import importlib.metadata
import platform
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from eth_utils.crypto import keccak

from contracts.blocks import MinedBlock
from contracts.node.kv import SCHEMA_VERSION
from contracts.node.node import EmbeddedNode
from contracts.node.pool import Miner, TransactionPool
from contracts.node.reader import BlockView, FoundLog
from contracts.node.records import (
    PENDING,
    CallRequest,
    CallResult,
    LogQuery,
    TransactionRecord,
)
from contracts.node.rpc_json import (
    EXECUTION_REVERTED,
    INVALID_PARAMS,
    LATEST,
    LIMIT_EXCEEDED,
    SERVER_ERROR,
    BlockId,
    Param,
    RpcError,
    address,
    block_id,
    block_json,
    block_number,
    boolean,
    call_request,
    data,
    found_log_json,
    hash32,
    hex_data,
    invalid_params,
    nothing,
    percentiles,
    quantity,
    raw_transactions,
    receipt_json,
    transaction_json,
)
from coordinator.protocol.types import Address, JsonObject

MAX_LOGS: Final = 10_000
"""Most logs in one answer; a client can request fewer blocks at a time."""


@dataclass(frozen=True, slots=True)
class RpcContext:
    """The node, its pool and its miner."""

    node: EmbeddedNode
    pool: TransactionPool
    miner: Miner

    def resolve(self, block: BlockId) -> int | bytes | str:
        """Return a number or hash that exists, or :data:`PENDING`.

        Raises
        ------
        RpcError
            If there is no such block.
        """
        if block == PENDING:
            return PENDING
        resolved = self.node.head_number if block == LATEST else block
        if self.node.block_number_of(resolved) is None:  # type: ignore[arg-type]
            shown = f"0x{resolved.hex()}" if isinstance(resolved, bytes) else str(resolved)
            raise RpcError(SERVER_ERROR, f"block not found: {shown}")
        return resolved

    def view(self, block: BlockId) -> BlockView | None:
        """Return a block, the pending one included, or ``None``."""
        if block == PENDING:
            return self._pending_view()
        resolved = self.node.head_number if block == LATEST else block
        return self.node.view(resolved)  # type: ignore[arg-type]

    def _pending_view(self) -> BlockView:
        head = self.node.head
        records = tuple(self.pool.records())
        block = replace(
            head,
            number=head.number + 1,
            parent_hash=head.hash,
            timestamp=self.node.next_timestamp,
            base_fee_wei=self.node.next_base_fee_wei,
            gas_used=0,
            bloom=0,
            transaction_hashes=tuple(record.hash for record in records),
        )
        return BlockView(block, records, ())

    def search(self, query: LogQuery) -> list[FoundLog]:
        """Return matching logs.

        Raises
        ------
        RpcError
            If there are too many.
        """
        matching: list[FoundLog] = []
        for log in self.node.get_logs(query):
            if len(matching) == MAX_LOGS:
                raise RpcError(
                    LIMIT_EXCEEDED,
                    f"query returned more than {MAX_LOGS} logs; ask for a smaller block range",
                )
            matching.append(log)
        return matching


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method: its parameters and its function."""

    name: str
    params: tuple[Param, ...]
    run: Callable[..., Any]

    def __call__(self, context: RpcContext, given: list[Any]) -> Any:
        """Parse the parameters and run the method.

        Raises
        ------
        RpcError
            If a parameter is missing, surplus or malformed; it is named.
        """
        if len(given) > len(self.params):
            raise RpcError(
                INVALID_PARAMS,
                f"invalid params: {self.name} takes at most {len(self.params)} parameter(s),"
                f" found {len(given)}",
            )
        return self.run(context, *[self._parse(i, given) for i in range(len(self.params))])

    def _parse(self, index: int, given: list[Any]) -> Any:
        param = self.params[index]
        if index < len(given) and not (given[index] is None and not param.is_required):
            return param.parse(given[index], param.name)
        if param.is_required:
            raise RpcError(
                INVALID_PARAMS,
                f"invalid params: {self.name}: parameter {index + 1} ({param.name}) is missing",
            )
        return param.default


class MethodTable:
    """Methods by name; used as a decorator."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}

    def __call__(self, name: str, *params: Param) -> Callable[..., Any]:
        """Register the decorated function under ``name``."""

        def register(run: Callable[..., Any]) -> Callable[..., Any]:
            self.methods[name] = Method(name, params, run)
            return run

        return register


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
    return "0x0"  # transactions are mined in order of arrival, so a tip has no effect


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
def _get_transaction_by_hash(context: RpcContext, transaction: bytes) -> JsonObject | None:
    record = _find(context, transaction)
    return None if record is None else transaction_json(record)


@READ_METHODS("eth_getRawTransactionByHash", _hash)
def _get_raw_transaction_by_hash(context: RpcContext, transaction: bytes) -> str | None:
    record = _find(context, transaction)
    return None if record is None else hex_data(record.raw)


def _find(context: RpcContext, transaction: bytes) -> TransactionRecord | None:
    return context.node.get_transaction(transaction) or context.pool.get(transaction)


@READ_METHODS("eth_getTransactionByBlockNumberAndIndex", _number, _index)
@READ_METHODS("eth_getTransactionByBlockHashAndIndex", _hash, _index)
def _get_transaction_by_index(context: RpcContext, block: BlockId, index: int) -> JsonObject | None:
    view = context.view(block)
    if view is None or index >= len(view.transactions):
        return None
    return transaction_json(view.transactions[index])


@READ_METHODS("eth_getTransactionReceipt", _hash)
def _get_transaction_receipt(context: RpcContext, transaction: bytes) -> JsonObject | None:
    receipt = context.node.get_receipt(transaction)
    return None if receipt is None else receipt_json(receipt)


@READ_METHODS(
    "eth_feeHistory",
    Param("blockCount", quantity),
    Param("newestBlock", block_number),
    Param("rewardPercentiles", percentiles, []),
)
def _fee_history(
    context: RpcContext, count: int, newest: int | str, percentages: list[float]
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
    if percentages:
        result["reward"] = [_tips(view, percentages) for view in views]
    return result


def _tips(view: BlockView, percentages: list[float]) -> list[str]:
    """Return the tip per gas at each percentile of the block's gas."""
    paid = sorted(
        (receipt.effective_gas_price - view.block.base_fee_wei, receipt.gas_used)
        for receipt in view.receipts
    )
    tips: list[str] = []
    for percentile in percentages:
        threshold = view.block.gas_used * percentile / 100
        gas, tip = 0, 0
        for tip, gas_used in paid:  # noqa: B007 -- the tip reached last is the answer
            gas += gas_used
            if gas >= threshold:
                break
        tips.append(hex(tip))
    return tips


MAX_FILTERS: Final = 1024
MAX_ALTERNATIVES: Final = 1000
_FILTER_FIELDS: Final = ("fromBlock", "toBlock", "address", "topics", "blockHash")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A parsed filter object; block tags are resolved when it is used."""

    from_block: int | str = LATEST
    to_block: int | str = LATEST
    block_hash: bytes | None = None
    addresses: tuple[Address, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()

    def query(self, context: RpcContext) -> LogQuery:
        """Return the filter's query, with tags resolved to block numbers."""
        if self.block_hash is not None:
            block = context.node.get_block(self.block_hash)
            if block is None:
                raise RpcError(SERVER_ERROR, f"block not found: 0x{self.block_hash.hex()}")
            return LogQuery(block.number, block.number, self.addresses, self.topics)
        head = context.node.head_number
        first = _resolved(self.from_block, head)
        last = _resolved(self.to_block, head)
        return LogQuery(first, last, self.addresses, self.topics)


def log_filter(value: Any, name: str) -> LogFilter:
    """Parse a filter object."""
    if not isinstance(value, dict):
        raise invalid_params(name, value, "an object")
    if unknown := sorted(set(value) - set(_FILTER_FIELDS)):
        raise invalid_params(f"{name}.{unknown[0]}", value[unknown[0]], "no such field")
    given = {key: item for key, item in value.items() if item is not None}
    if "blockHash" in given and ("fromBlock" in given or "toBlock" in given):
        raise invalid_params(f"{name}.blockHash", given["blockHash"], "no fromBlock or toBlock too")
    parsed = LogFilter(
        from_block=block_number(given.get("fromBlock", LATEST), f"{name}.fromBlock"),
        to_block=block_number(given.get("toBlock", LATEST), f"{name}.toBlock"),
        block_hash=(
            hash32(given["blockHash"], f"{name}.blockHash") if "blockHash" in given else None
        ),
        addresses=_alternatives(given.get("address"), f"{name}.address", address),
        topics=_topics(given.get("topics", []), f"{name}.topics"),
    )
    first, last = parsed.from_block, parsed.to_block
    if isinstance(first, int) and isinstance(last, int) and first > last:
        raise invalid_params(f"{name}.fromBlock", hex(first), f"at most toBlock, {hex(last)}")
    return parsed


def _topics(value: Any, name: str) -> tuple[tuple[bytes, ...], ...]:
    if not isinstance(value, list) or len(value) > 4:
        raise invalid_params(name, value, "a list of at most 4 topics")
    return tuple(
        _alternatives(item, f"{name}[{index}]", hash32) for index, item in enumerate(value)
    )


def _alternatives(value: Any, name: str, parse: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        return (parse(value, name),)
    if len(value) > MAX_ALTERNATIVES:
        raise invalid_params(name, len(value), f"at most {MAX_ALTERNATIVES} alternatives")
    return tuple(parse(item, f"{name}[{index}]") for index, item in enumerate(value))


def _resolved(block: int | str, head: int) -> int:
    """Resolve a tag; a pending block has no logs, so it is the block after the head."""
    if isinstance(block, int):
        return block
    return head + 1 if block == PENDING else head


@dataclass(frozen=True, slots=True)
class _Filter:
    """One installed filter: its query, and what it has returned so far."""

    kind: str
    next_block: int
    logs: LogFilter = LogFilter()
    returned: frozenset[bytes] = frozenset()


class LogMethods:
    """The methods of this module, with the filters of one node."""

    def __init__(self) -> None:
        self.table = MethodTable()
        self._filters: OrderedDict[int, _Filter] = OrderedDict()
        self._last_id = 0
        query = Param("filter", log_filter)
        number = Param("id", quantity)
        self.table("eth_getLogs", query)(self._get_logs)
        self.table("eth_newFilter", query)(self._new_filter)
        self.table("eth_newBlockFilter")(self._new_block_filter)
        self.table("eth_newPendingTransactionFilter")(self._new_pending_filter)
        self.table("eth_getFilterChanges", number)(self._get_changes)
        self.table("eth_getFilterLogs", number)(self._get_filter_logs)
        self.table("eth_uninstallFilter", number)(self._uninstall)

    def _get_logs(self, context: RpcContext, logs: LogFilter) -> list[Any]:
        return [found_log_json(match) for match in context.search(logs.query(context))]

    def _new_filter(self, context: RpcContext, logs: LogFilter) -> str:
        head = context.node.head_number
        first = max(_resolved(logs.from_block, head), head + 1)
        return self._install(_Filter("logs", first, logs))

    def _new_block_filter(self, context: RpcContext) -> str:
        return self._install(_Filter("blocks", context.node.head_number + 1))

    def _new_pending_filter(self, context: RpcContext) -> str:
        pending = frozenset(record.hash for record in context.pool.records())
        return self._install(_Filter("pending", 0, returned=pending))

    def _install(self, new: _Filter) -> str:
        self._last_id += 1
        self._filters[self._last_id] = new
        while len(self._filters) > MAX_FILTERS:
            self._filters.popitem(last=False)
        return hex(self._last_id)

    def _get(self, number: int) -> _Filter:
        if number not in self._filters:
            raise RpcError(SERVER_ERROR, f"filter not found: {hex(number)}")
        return self._filters[number]

    def _get_changes(self, context: RpcContext, number: int) -> list[Any]:
        current = self._get(number)
        head = context.node.head_number
        if current.kind == "pending":
            hashes = [record.hash for record in context.pool.records()]
            self._filters[number] = replace(current, returned=frozenset(hashes))
            return [hex_data(item) for item in hashes if item not in current.returned]
        self._filters[number] = replace(current, next_block=head + 1)
        if current.kind == "blocks":
            mined = (context.node.block_hash(n) for n in range(current.next_block, head + 1))
            return [hex_data(item) for item in mined if item is not None]
        query = current.logs.query(context)
        last = head if isinstance(current.logs.to_block, str) else query.to_block
        fresh = replace(query, from_block=current.next_block, to_block=last)
        return [found_log_json(item) for item in context.search(fresh)]

    def _get_filter_logs(self, context: RpcContext, number: int) -> list[Any]:
        current = self._get(number)
        if current.kind != "logs":
            raise RpcError(SERVER_ERROR, f"filter {hex(number)} is not a log filter")
        return self._get_logs(context, current.logs)

    def _uninstall(self, _: RpcContext, number: int) -> bool:
        return self._filters.pop(number, None) is not None


DEV_METHODS: Final = MethodTable()


def number(value: Any, name: str) -> int:
    """Parse a JSON number or a hex quantity, since tools send both."""
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
                "index": refusal.index,
                "transactionHash": hex_data(refusal.transaction_hash),
                "code": refusal.code,
                "message": refusal.message,
            }
            for refusal in block.refused
        ],
    }
