"""The embedded node: one chain, one producer, one lock.

Every public method may be called from any thread. What :meth:`EmbeddedNode.mine` has returned
is on disk. Signing is the caller's business: no key ever comes here.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from eth.abc import BlockAPI
from eth.chains.base import MiningChain

from contracts.node.batching import BatchingDB
from contracts.node.chain_view import ChainView
from contracts.node.evm import BLOCK_TIME_S, FedproofVM, seal_block
from contracts.node.execution import Execution, decode_all, execute
from contracts.node.genesis import GenesisConfig
from contracts.node.kv import MemoryDB, SqliteDB, open_read_only
from contracts.node.reader import BlockView, make_view
from contracts.node.records import MinedBlock
from contracts.node.revert import failure_of, is_revert
from contracts.node.start import open_chain
from contracts.node.timing import BlockTimer, Clock
from coordinator.protocol.errors import LedgerError


class EmbeddedNode(ChainView):
    """A chain and its head. Make one with :meth:`create_or_open`."""

    def __init__(
        self, db: BatchingDB, genesis: GenesisConfig, chain: MiningChain, timer: BlockTimer
    ) -> None:
        super().__init__(genesis, chain, timer)
        self._db = db
        self._timer_saves: list[object] = []

    @classmethod
    def create_or_open(
        cls,
        path: Path | str | None,
        genesis: GenesisConfig | None = None,
        *,
        clock: Clock | None = None,
        block_time_s: int = BLOCK_TIME_S,
    ) -> "EmbeddedNode":
        """Open the chain at ``path``, or start it there; ``None`` keeps it in memory.

        Parameters
        ----------
        path
            The chain file; its folder is created.
        genesis
            ``None`` takes what the existing chain was started with.
        clock
            Gives block times; without one a block is ``block_time_s`` after its parent.

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
        """Open an existing chain to read it; nothing in its folder changes.

        What is read is not verified: see :func:`contracts.node.replica.replay`.

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

    # Blocks ------------------------------------------------------------------------------

    def mine(
        self, raw_transactions: Sequence[bytes] = (), *, timestamp: int | None = None
    ) -> MinedBlock:
        """Make exactly one block of ``raw_transactions``, in order, and write it to disk.

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
            refused = sorted([*refused, *done.refused], key=lambda bad: bad.index)
            return MinedBlock(
                number=view.block.number,
                hash=view.block.hash,
                timestamp=view.block.timestamp,
                receipts=view.receipts,
                refused=tuple(refused),
            )

    # Going back, and ending --------------------------------------------------------------

    def snapshot(self) -> int:
        """Remember the chain as it is; return a number for :meth:`revert`.

        Raises
        ------
        LedgerError
            If the chain is on disk: a durable chain does not forget a block.
        """
        with self.lock:
            self._timer_saves.append(self.timer.save())
            return self._memory().snapshot()

    def revert(self, snapshot: int) -> None:
        """Go back to ``snapshot``; it and later ones are used up.

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
        """Leave one plain file behind. Harmless when repeated."""
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


def _explained(block: BlockAPI, done: Execution) -> BlockView:
    """Add to the receipts why a transaction failed, which is known only now."""
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
