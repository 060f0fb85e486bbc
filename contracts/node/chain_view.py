"""The read side of a node: blocks, logs, state and calls."""

import threading
from collections.abc import Iterator
from typing import Final

from eth.abc import BlockHeaderAPI, StateAPI
from eth.chains.base import MiningChain

from contracts.node.calls import CallRequest, estimate_gas, execute_call, state_at
from contracts.node.evm import base_fee_of
from contracts.node.genesis import GenesisConfig
from contracts.node.reader import BlockReader, BlockView, FoundLog, LogQuery
from contracts.node.records import BlockRecord, CallResult, TransactionRecord, TxReceipt
from contracts.node.timing import BlockTimer
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address

PENDING: Final = "pending"
"""Stands for the block that would be made next, where a block number is expected."""


class ChainView:
    """What can be asked of a chain; every method may be called from any thread.

    Attributes
    ----------
    genesis
        The parameters the chain started from.
    lock
        Held by every method; hold it to make several calls as one.
    timer
        Decides block times.
    """

    def __init__(self, genesis: GenesisConfig, chain: MiningChain, timer: BlockTimer) -> None:
        self.genesis = genesis
        self.timer = timer
        self.lock = threading.RLock()
        self._chain = chain
        self._reader = BlockReader(chain)
        self._head: BlockHeaderAPI = chain.get_canonical_head()

    @property
    def head(self) -> BlockRecord:
        """The newest block."""
        with self.lock:
            view = self._reader.view(self._head.block_number)
            assert view is not None
            return view.block

    @property
    def head_number(self) -> int:
        """The newest block's number; cheaper than :attr:`head`."""
        return int(self._head.block_number)

    @property
    def next_base_fee_wei(self) -> int:
        """Base fee of the next block."""
        with self.lock:
            return base_fee_of(self._next_header())

    @property
    def next_timestamp(self) -> int:
        """Time the next block would have if it were made now, Unix seconds."""
        with self.lock:
            return self.timer.next_timestamp(self._head.timestamp)

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash of block ``number``, or ``None`` if there is no such block."""
        with self.lock:
            header = self._reader.header(number)
            return None if header is None else bytes(header.hash)

    def block_number_of(self, block: int | bytes) -> int | None:
        """Return the number of a block given by number or hash, or ``None``."""
        with self.lock:
            header = self._reader.header(block)
            return None if header is None else int(header.block_number)

    def get_block(self, block: int | bytes) -> BlockRecord | None:
        """Return a block by number or hash, or ``None``."""
        view = self.view(block)
        return None if view is None else view.block

    def view(self, block: int | bytes) -> BlockView | None:
        """Return a block by number or hash with its transactions and receipts, or ``None``."""
        with self.lock:
            return self._reader.view(block)

    def get_transaction(self, transaction_hash: bytes) -> TransactionRecord | None:
        """Return a mined transaction, or ``None``."""
        with self.lock:
            place = self._reader.place(transaction_hash)
            return None if place is None else place[0].transactions[place[1]]

    def get_receipt(self, transaction_hash: bytes) -> TxReceipt | None:
        """Return a mined transaction's receipt, or ``None``."""
        with self.lock:
            place = self._reader.place(transaction_hash)
            return None if place is None else place[0].receipts[place[1]]

    def get_logs(self, query: LogQuery) -> Iterator[FoundLog]:
        """Iterate over matching logs in order; hold :attr:`lock` while doing so."""
        return self._reader.logs(query, self.head_number)

    # State -------------------------------------------------------------------------------

    def state(self, block: int | bytes | str = PENDING) -> StateAPI:
        """Return py-evm's state at a block; :data:`PENDING` for the next block's context.

        Raises
        ------
        LedgerError
            If there is no such block.
        """
        with self.lock:
            if block == PENDING:
                return state_at(self._chain, self._next_header())
            header = self._reader.header(block)  # type: ignore[arg-type]
            if header is None:
                raise LedgerError(f"no block {_printable(block)}; the head is {self.head_number}")
            return state_at(self._chain, header)

    def call(self, request: CallRequest, block: int | bytes | str | None = None) -> CallResult:
        """Execute a call at ``block`` (the head by default) without a trace."""
        with self.lock:
            return execute_call(self.state(self.head_number if block is None else block), request)

    def estimate_gas(
        self, request: CallRequest, block: int | bytes | str = PENDING
    ) -> tuple[int, CallResult]:
        """Return a sufficient gas limit and the call's result, by default in the next block."""
        with self.lock:
            return estimate_gas(self.state(block), request)

    def get_balance(self, account: Address, block: int | bytes | str | None = None) -> int:
        """Return a balance in wei, at the head by default."""
        with self.lock:
            state = self.state(self.head_number if block is None else block)
            return state.get_balance(bytes.fromhex(account[2:]))  # type: ignore[arg-type]

    def get_nonce(self, account: Address, block: int | bytes | str | None = None) -> int:
        """Return the number of transactions an account has sent, at the head by default."""
        with self.lock:
            state = self.state(self.head_number if block is None else block)
            return state.get_nonce(bytes.fromhex(account[2:]))  # type: ignore[arg-type]

    def _next_header(self, timestamp: int | None = None) -> BlockHeaderAPI:
        parent = self._head
        if timestamp is None:
            timestamp = self.timer.next_timestamp(parent.timestamp)
        if timestamp <= parent.timestamp:
            raise LedgerError(
                f"block {parent.block_number + 1}: time {timestamp} is not after its parent's,"
                f" {parent.timestamp}"
            )
        return self._chain.create_header_from_parent(
            parent,
            timestamp=timestamp,
            gas_limit=parent.gas_limit,
            coinbase=bytes.fromhex(self.genesis.coinbase[2:]),
        )


def _printable(block: int | bytes | str) -> str:
    return f"0x{block.hex()}" if isinstance(block, bytes) else str(block)
