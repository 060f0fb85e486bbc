"""JSON-RPC methods about logs, and the filters that clients poll.

Filters belong to the node, not to a connection; the oldest goes when there are too many.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from contracts.node.chain_view import PENDING
from contracts.node.reader import LogQuery
from contracts.node.rpc_context import MethodTable, RpcContext
from contracts.node.rpc_errors import SERVER_ERROR, RpcError, invalid_params
from contracts.node.rpc_format import found_log_json, hex_data
from contracts.node.rpc_params import LATEST, Param, address, block_number, hash32, quantity
from coordinator.protocol.types import Address

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
        """Return the search this filter means now."""
        if self.block_hash is not None:
            block = context.node.get_block(self.block_hash)
            if block is None:
                raise RpcError(SERVER_ERROR, f"block not found: 0x{self.block_hash.hex()}")
            return LogQuery(block.number, block.number, self.addresses, self.topics)
        head = context.node.head_number
        first = _number(self.from_block, head)
        last = _number(self.to_block, head)
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


def _number(block: int | str, head: int) -> int:
    """Resolve a tag; a pending block holds no logs, so it starts after the head."""
    if isinstance(block, int):
        return block
    return head + 1 if block == PENDING else head


@dataclass(frozen=True, slots=True)
class _Filter:
    """One installed filter: what it watches and the next block or arrival it has not seen."""

    kind: str
    next_block: int
    logs: LogFilter = LogFilter()
    seen: frozenset[bytes] = frozenset()


class LogMethods:
    """The methods of this module, with the filters of one node."""

    def __init__(self) -> None:
        self.table = MethodTable()
        self._filters: OrderedDict[int, _Filter] = OrderedDict()
        self._last_id = 0
        wanted = Param("filter", log_filter)
        number = Param("id", quantity)
        self.table("eth_getLogs", wanted)(self._get_logs)
        self.table("eth_newFilter", wanted)(self._new_filter)
        self.table("eth_newBlockFilter")(self._new_block_filter)
        self.table("eth_newPendingTransactionFilter")(self._new_pending_filter)
        self.table("eth_getFilterChanges", number)(self._get_changes)
        self.table("eth_getFilterLogs", number)(self._get_filter_logs)
        self.table("eth_uninstallFilter", number)(self._uninstall)

    def _get_logs(self, context: RpcContext, wanted: LogFilter) -> list[Any]:
        return [found_log_json(found) for found in context.search(wanted.query(context))]

    def _new_filter(self, context: RpcContext, wanted: LogFilter) -> str:
        head = context.node.head_number
        first = max(_number(wanted.from_block, head), head + 1)
        return self._install(_Filter("logs", first, wanted))

    def _new_block_filter(self, context: RpcContext) -> str:
        return self._install(_Filter("blocks", context.node.head_number + 1))

    def _new_pending_filter(self, context: RpcContext) -> str:
        seen = frozenset(record.hash for record in context.pool.records())
        return self._install(_Filter("pending", 0, seen=seen))

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
            self._filters[number] = replace(current, seen=frozenset(hashes))
            return [hex_data(item) for item in hashes if item not in current.seen]
        self._filters[number] = replace(current, next_block=head + 1)
        if current.kind == "blocks":
            found = (context.node.block_hash(n) for n in range(current.next_block, head + 1))
            return [hex_data(item) for item in found if item is not None]
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
