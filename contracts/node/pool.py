"""Pending transactions, which are admitted one by one, and their mining in order of nonces.

In memory only: a transaction is durable once its receipt can be read. After a crash a client sends
it again, which is harmless.
"""

import heapq
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from eth.abc import SignedTransactionAPI

from contracts.blocks import BlockProducer, MinedBlock
from contracts.node.admission import TransactionRefusedError, decode_transaction
from contracts.node.genesis import GenesisConfig
from contracts.node.reader import transaction_record
from contracts.node.records import TransactionRecord
from coordinator.protocol.errors import ConfigError, FedproofError, LedgerError
from coordinator.protocol.types import Address

MAX_POOL_BYTES: Final = 64 * 1024 * 1024
MAX_NONCES_AHEAD: Final = 1024
_REPLACEMENT_PERCENT: Final = 110
"""Least fees of a replacement, in percent of the old ones; the same as geth's."""
_WAITING: Final = ("block-full", "nonce-too-high")
"""Refusals after which the transaction stays, since a later block may include it."""


@dataclass(frozen=True, slots=True)
class _Entry:
    arrival: int
    transaction: SignedTransactionAPI
    record: TransactionRecord


class PoolNode(BlockProducer, Protocol):
    """The interface of the node that a pool mines on."""

    genesis: GenesisConfig
    lock: threading.RLock

    @property
    def next_base_fee_wei(self) -> int:
        """Base fee of the next block."""

    def get_balance(self, account: Address) -> int:
        """Return a balance in wei at the head."""

    def get_nonce(self, account: Address) -> int:
        """Return the number of transactions an account has sent, at the head."""


class TransactionPool:
    """The transactions that were sent to ``node`` and are not in a block yet."""

    def __init__(self, node: PoolNode) -> None:
        self._node = node
        self._queues: dict[Address, dict[int, _Entry]] = {}
        self._by_hash: dict[bytes, _Entry] = {}
        self._arrivals = itertools.count()
        self._bytes = 0

    def add(self, raw: bytes) -> bytes:
        """Admit a raw transaction; return its hash.

        Raises
        ------
        TransactionRefusedError
            If it cannot be mined in the current state, or the pool is full.
        """
        with self._node.lock:
            transaction = decode_transaction(raw, chain_id=self._node.genesis.chain_id)
            entry = _Entry(next(self._arrivals), transaction, transaction_record(transaction))
            self._check(entry)
            queue = self._queues.setdefault(entry.record.sender, {})
            if (replaced := queue.get(entry.record.nonce)) is not None:
                self._drop(replaced)
            self._queues.setdefault(entry.record.sender, {})[entry.record.nonce] = entry
            self._by_hash[entry.record.hash] = entry
            self._bytes += len(raw)
            return entry.record.hash

    def _check(self, entry: _Entry) -> None:
        record = entry.record
        if record.hash in self._by_hash:
            raise _refused(record, "already-known", "already known")
        if self._bytes + len(record.raw) > MAX_POOL_BYTES:
            raise _refused(record, "pool-full", f"the pool holds {self._bytes} bytes, it is full")
        next_nonce = self._node.get_nonce(record.sender)
        if record.nonce < next_nonce:
            raise _refused(
                record, "nonce-too-low", f"nonce too low: found {record.nonce}, next {next_nonce}"
            )
        if record.nonce > next_nonce + MAX_NONCES_AHEAD:
            raise _refused(
                record,
                "nonce-too-high",
                f"nonce too high: found {record.nonce}, next {next_nonce}",
            )
        self._check_price(record)
        self._check_replacement(record)

    def _check_price(self, record: TransactionRecord) -> None:
        base_fee = self._node.next_base_fee_wei
        if record.max_fee_wei < base_fee:
            raise _refused(
                record,
                "fee-too-low",
                "max fee per gas less than block base fee:"
                f" found {record.max_fee_wei} wei, base fee {base_fee} wei",
            )
        needed = record.gas * record.max_fee_wei + record.value_wei
        balance = self._node.get_balance(record.sender)
        if balance < needed:
            raise _refused(
                record,
                "insufficient-funds",
                "insufficient funds for gas * price + value:"
                f" have {balance} wei, need {needed} wei",
            )

    def _check_replacement(self, record: TransactionRecord) -> None:
        old = self._queues.get(record.sender, {}).get(record.nonce)
        if old is None:
            return
        pairs = (
            (record.max_fee_wei, old.record.max_fee_wei),
            (record.max_priority_fee_wei, old.record.max_priority_fee_wei),
        )
        if any(new * 100 < was * _REPLACEMENT_PERCENT for new, was in pairs):
            raise _refused(
                record,
                "underpriced",
                f"replacement transaction underpriced: nonce {record.nonce} is taken by"
                f" 0x{old.record.hash.hex()}; offer at least 10 % more",
            )

    def mine(self, *, timestamp: int | None = None) -> MinedBlock:
        """Build one block of the ready transactions, in order of arrival where nonces allow.

        Those that do not fit into the block stay; those that became invalid are dropped, and
        reported.
        """
        with self._node.lock:
            entries = list(self._ready())
            block = self._node.mine([e.record.raw for e in entries], timestamp=timestamp)
            waiting = {refusal.index for refusal in block.refused if refusal.code in _WAITING}
            for index, entry in enumerate(entries):
                if index not in waiting:
                    self._drop(entry)
            return block

    def has_ready(self) -> bool:
        """Whether a block built now would include a transaction."""
        with self._node.lock:
            return next(self._ready(), None) is not None

    def _ready(self) -> Iterator[_Entry]:
        """Iterate over the mineable transactions, by arrival of each sender's next one."""
        heap: list[tuple[int, Address, int]] = []
        for sender, queue in self._queues.items():
            nonce = self._node.get_nonce(sender)
            if nonce in queue:
                heap.append((queue[nonce].arrival, sender, nonce))
        heapq.heapify(heap)
        while heap:
            _, sender, nonce = heapq.heappop(heap)
            yield self._queues[sender][nonce]
            if (following := self._queues[sender].get(nonce + 1)) is not None:
                heapq.heappush(heap, (following.arrival, sender, nonce + 1))

    def _drop(self, entry: _Entry) -> None:
        record = entry.record
        del self._by_hash[record.hash]
        del self._queues[record.sender][record.nonce]
        if not self._queues[record.sender]:
            del self._queues[record.sender]
        self._bytes -= len(record.raw)

    def get(self, transaction_hash: bytes) -> TransactionRecord | None:
        """Return a pending transaction, or ``None``."""
        with self._node.lock:
            entry = self._by_hash.get(transaction_hash)
            return None if entry is None else entry.record

    def records(self) -> list[TransactionRecord]:
        """Return the pending transactions, in order of arrival."""
        with self._node.lock:
            return [e.record for e in sorted(self._by_hash.values(), key=lambda e: e.arrival)]

    def next_nonce(self, sender: Address) -> int:
        """Return the nonce after a sender's mined and gaplessly pending transactions."""
        with self._node.lock:
            nonce = self._node.get_nonce(sender)
            queue = self._queues.get(sender, {})
            while nonce in queue:
                nonce += 1
            return nonce

    def clear(self) -> None:
        """Drop all pending transactions."""
        with self._node.lock:
            self._queues.clear()
            self._by_hash.clear()
            self._bytes = 0


def _refused(record: TransactionRecord, code: str, message: str) -> LedgerError:
    return TransactionRefusedError(
        f"transaction 0x{record.hash.hex()}: {message}", code=code, transaction_hash=record.hash
    )


MiningMode = Literal["instant", "interval", "manual"]
DEFAULT_INTERVAL_S: Final = 0.2
_RETRY_S: Final = 1.0


class Miner:
    """Mines the transactions of a pool.

    Parameters
    ----------
    mode
        ``"instant"``: :meth:`transaction_added` mines before it returns; ``"interval"``: a
        thread mines all ready transactions in one block; ``"manual"``: only an explicit
        :meth:`TransactionPool.mine` does.
    interval_s
        Time between a transaction's arrival and its block in interval mode.
    """

    def __init__(
        self,
        pool: TransactionPool,
        mode: MiningMode = "instant",
        *,
        interval_s: float = DEFAULT_INTERVAL_S,
    ) -> None:
        if mode not in ("instant", "interval", "manual"):
            raise ConfigError(f"mining mode {mode!r}; expected instant, interval or manual")
        if not 0.0 < interval_s <= 3600.0:
            raise ConfigError(f"mining interval {interval_s!r} s; expected above 0, at most 3600")
        self.mode = mode
        self._pool = pool
        self._interval_s = interval_s
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._failure: FedproofError | None = None
        self._thread: threading.Thread | None = None
        if mode == "interval":
            self._thread = threading.Thread(target=self._run, name="fedproof-miner", daemon=True)
            self._thread.start()

    def transaction_added(self) -> None:
        """React to a new pending transaction."""
        if self.mode == "instant":
            while self._pool.has_ready():
                self._pool.mine()
        elif self.mode == "interval":
            self._arrived.set()

    def check(self) -> None:
        """Raise the error of the mining thread, while it fails.

        Raises
        ------
        FedproofError
            The thread's own error, such as a full disk.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._arrived.wait()
            if self._stopping.wait(self._interval_s):
                return
            self._arrived.clear()
            try:
                while self._pool.has_ready() and not self._stopping.is_set():
                    self._pool.mine()
                self._failure = None
            except FedproofError as failed:
                self._failure = failed
                if self._stopping.wait(_RETRY_S):
                    return
                self._arrived.set()  # retry: a full disk may have space again

    def stop(self) -> None:
        """Stop the thread; pending transactions are lost. Idempotent."""
        self._stopping.set()
        self._arrived.set()
        if self._thread is not None:
            self._thread.join()
