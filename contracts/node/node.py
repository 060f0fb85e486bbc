"""The embedded node: one chain, one producer, one lock.

All public methods are thread-safe. A block that :meth:`EmbeddedNode.mine` has returned is on disk.
Not handled: signing; the node never has a key.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from eth.abc import BlockAPI, BlockHeaderAPI, StateAPI
from eth.chains.base import MiningChain

from contracts.blocks import MinedBlock, TxReceipt
from contracts.node.batching import BatchingDB, MemoryDB
from contracts.node.evm import BLOCK_TIME_S, FedproofVM, base_fee_of, seal_block
from contracts.node.execution import (
    Execution,
    decode_all,
    estimate_gas,
    execute,
    execute_call,
    failure_of,
    is_revert,
    state_at,
)
from contracts.node.genesis import GenesisConfig, open_chain
from contracts.node.kv import SqliteDB, open_read_only
from contracts.node.reader import BlockReader, BlockView, FoundLog, make_view
from contracts.node.records import (
    PENDING,
    BlockRecord,
    CallRequest,
    CallResult,
    LogQuery,
    TransactionRecord,
)
from contracts.node.timing import BlockTimer, Clock
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address


class EmbeddedNode:
    """A chain and its head. Create one with :meth:`create_or_open`.

    Attributes
    ----------
    genesis
        The chain's genesis parameters.
    lock
        Held by every method; acquire it to make several calls atomic.
    timer
        Chooses block times.
    """

    def __init__(
        self, db: BatchingDB, genesis: GenesisConfig, chain: MiningChain, timer: BlockTimer
    ) -> None:
        self._db = db
        self._timer_saves: list[object] = []
        self.genesis = genesis
        self.timer = timer
        self.lock = threading.RLock()
        self._chain = chain
        self._reader = BlockReader(chain)
        self._head: BlockHeaderAPI = chain.get_canonical_head()

    @classmethod
    def create_or_open(
        cls,
        path: Path | str | None,
        genesis: GenesisConfig | None = None,
        *,
        clock: Clock | None = None,
        block_time_s: int = BLOCK_TIME_S,
    ) -> "EmbeddedNode":
        """Open the chain at ``path``, or create it there; ``None`` keeps it in memory.

        Parameters
        ----------
        path
            The chain file; its folder is created.
        genesis
            The genesis parameters; ``None`` takes those of the existing chain.
        clock
            The source of block times; without one a block is ``block_time_s`` after its parent.

        Raises
        ------
        ConfigError
            If the chain was started with other parameters; the first that differs is named.
        ChainUnavailableError
            If another node has it open.
        StoreError
            If the file cannot be read or written.
        """
        db: BatchingDB = MemoryDB() if path is None else SqliteDB(Path(path))
        try:
            chain, stored = open_chain(db, genesis, where=str(path or "the chain in memory"))
        except BaseException:
            db.checkpoint_and_close()
            raise
        return cls(db, stored, chain, BlockTimer(clock, block_time_s))

    @classmethod
    def open_read_only(cls, path: Path | str) -> "EmbeddedNode":
        """Open an existing chain for reading; no file in its folder changes.

        It is not verified: see :func:`contracts.node.replica.replay`.

        Raises
        ------
        ChainUnavailableError
            If a node has it open.
        StoreError
            If it is missing, or is not a chain file.
        """
        db = open_read_only(Path(path))
        try:
            chain, stored = open_chain(db, None, where=str(path))
        except BaseException:
            db.checkpoint_and_close()
            raise
        return cls(db, stored, chain, BlockTimer())

    # Reading -----------------------------------------------------------------------------

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
        """Time of the next block if it were made now, Unix seconds."""
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
        """Iterate over matching logs in order; the caller must hold :attr:`lock` meanwhile."""
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
        """Execute a call at ``block`` (the head by default) without changing the state."""
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

    # Blocks ------------------------------------------------------------------------------

    def mine(
        self, raw_transactions: Sequence[bytes] = (), *, timestamp: int | None = None
    ) -> MinedBlock:
        """Build one block of ``raw_transactions``, in order, and write it to disk.

        A transaction that breaks a rule is left out and reported in ``refused``; one that
        reverts is in the block, with status 0 and its reason.

        Raises
        ------
        LedgerError
            If ``timestamp`` is not after the head's.
        StoreError
            If the block cannot be written; the chain stays as it was.
        """
        with self.lock:
            header = self._next_header(timestamp)
            decoded, refused = decode_all(raw_transactions, self.genesis.chain_id)
            with self._db.atomic_batch():
                vm = self._chain.get_vm(header)
                assert isinstance(vm, FedproofVM)
                done = execute(vm, header, decoded)
                block = seal_block(vm, done.header, done.transactions, done.receipts)
                self._chain.validate_block(block)
                self._chain.chaindb.persist_block(block)
            self._head = block.header
            self.timer.block_made()
            view = self._reader.keep(_explained(block, done))
            refused = sorted([*refused, *done.refused], key=lambda refusal: refusal.index)
            return MinedBlock(
                number=view.block.number,
                hash=view.block.hash,
                timestamp=view.block.timestamp,
                receipts=view.receipts,
                refused=tuple(refused),
            )

    # Snapshots and closing ---------------------------------------------------------------

    def snapshot(self) -> int:
        """Take a snapshot of the chain; return its number for :meth:`revert`.

        Raises
        ------
        LedgerError
            If the chain is on disk: a durable chain never removes a block.
        """
        with self.lock:
            self._timer_saves.append(self.timer.save())
            return self._memory().snapshot()

    def revert(self, snapshot: int) -> None:
        """Revert to ``snapshot``, and delete it and later ones.

        Raises
        ------
        LedgerError
            If there is no such snapshot, or the chain is on disk.
        """
        with self.lock:
            try:
                self._memory().revert(snapshot)
            except KeyError as missing:
                raise LedgerError(f"no snapshot {snapshot} to revert to") from missing
            self.timer.restore(self._timer_saves[snapshot - 1])  # type: ignore[arg-type]
            del self._timer_saves[snapshot - 1 :]
            self._reader.forget()
            self._head = self._chain.get_canonical_head()

    def _memory(self) -> MemoryDB:
        if not isinstance(self._db, MemoryDB):
            raise LedgerError("snapshots are for a chain in memory; this one is on disk")
        return self._db

    def close(self) -> None:
        """Close the chain, so that one file is left. Idempotent."""
        with self.lock:
            self._db.checkpoint_and_close()

    def __enter__(self) -> "EmbeddedNode":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _printable(block: int | bytes | str) -> str:
    return f"0x{block.hex()}" if isinstance(block, bytes) else str(block)


def _explained(block: BlockAPI, done: Execution) -> BlockView:
    """Return the block's view, with failure reasons in its receipts, which py-evm's lack."""
    view = make_view(block.header, done.transactions, done.receipts)
    receipts = tuple(
        replace(
            receipt,
            failure=failure_of(computation),
            revert_data=bytes(computation.output) if is_revert(computation) else b"",
        )
        for receipt, computation in zip(view.receipts, done.computations, strict=True)
    )
    return replace(view, receipts=receipts)
