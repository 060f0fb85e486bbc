"""What every RPC method works on, and the table that methods are entered in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from contracts.node.chain_view import PENDING
from contracts.node.mining import Miner
from contracts.node.node import EmbeddedNode
from contracts.node.pool import TransactionPool
from contracts.node.reader import BlockView, FoundLog, LogQuery
from contracts.node.rpc_errors import INVALID_PARAMS, LIMIT_EXCEEDED, SERVER_ERROR, RpcError
from contracts.node.rpc_params import LATEST, BlockId, Param

MAX_LOGS: Final = 10_000
"""Logs in one answer; a client with more to read asks for fewer blocks at a time."""


@dataclass(frozen=True, slots=True)
class RpcContext:
    """The node, and what is pending."""

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
        found = self.node.head_number if block == LATEST else block
        if self.node.block_number_of(found) is None:  # type: ignore[arg-type]
            shown = f"0x{found.hex()}" if isinstance(found, bytes) else str(found)
            raise RpcError(SERVER_ERROR, f"block not found: {shown}")
        return found

    def view(self, block: BlockId) -> BlockView | None:
        """Return a block, the pending one included, or ``None``."""
        if block == PENDING:
            return self._pending_view()
        found = self.node.head_number if block == LATEST else block
        return self.node.view(found)  # type: ignore[arg-type]

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
        found: list[FoundLog] = []
        for log in self.node.get_logs(query):
            if len(found) == MAX_LOGS:
                raise RpcError(
                    LIMIT_EXCEEDED,
                    f"query returned more than {MAX_LOGS} logs; ask for a smaller block range",
                )
            found.append(log)
        return found


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method: how its parameters are parsed and what it does."""

    name: str
    params: tuple[Param, ...]
    run: Callable[..., Any]

    def __call__(self, context: RpcContext, given: list[Any]) -> Any:
        """Parse ``given`` and run.

        Raises
        ------
        RpcError
            If a parameter is missing, too many, or malformed; it is named.
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
        """Enter the decorated function under ``name``."""

        def enter(run: Callable[..., Any]) -> Callable[..., Any]:
            self.methods[name] = Method(name, params, run)
            return run

        return enter
