"""Functions of the commands ``fedproof chain serve`` and ``fedproof chain show``."""

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from contracts.blocks import TxReceipt
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.pool import DEFAULT_INTERVAL_S, MiningMode
from contracts.node.records import TransactionRecord
from contracts.node.rpc import Dispatcher
from contracts.node.server import DEFAULT_PORT, serve_in_thread
from contracts.node.timing import wall_clock
from coordinator.protocol.amounts import ETHER
from coordinator.protocol.types import Address, Wei

DEFAULT_BALANCE_WEI: Final = Wei(10_000 * ETHER)
_STOPPING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def new_genesis(
    accounts: Sequence[Address],
    *,
    chain_id: int = 1337,
    balance_wei: Wei = DEFAULT_BALANCE_WEI,
    timestamp: int | None = None,
) -> GenesisConfig:
    """Return parameters of a chain that starts now and gives each account a balance.

    Raises
    ------
    ConfigError
        If an address or a number is out of range.
    """
    return GenesisConfig(
        alloc=dict.fromkeys(accounts, balance_wei),
        chain_id=chain_id,
        timestamp=wall_clock() if timestamp is None else timestamp,
    )


def serve(
    path: Path | str | None,
    *,
    genesis: GenesisConfig | None = None,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    dev: bool = False,
    mining: MiningMode = "interval",
    interval_s: float = DEFAULT_INTERVAL_S,
    allowed_hosts: Sequence[str] = (),
    on_ready: Callable[[str, EmbeddedNode], None] = lambda *_: None,
) -> None:
    """Serve a chain on wall-clock time until SIGINT or SIGTERM; call from the main thread.

    Parameters
    ----------
    path
        The chain file, opened or created; ``None`` keeps the chain in memory.
    genesis
        Required if there is no chain yet.
    dev
        Whether to offer development methods.
    on_ready
        Called with the URL and the node once the server listens.

    Raises
    ------
    ConfigError
        If the port is taken, the address is not loopback, or the chain at ``path`` was started
        with other parameters.
    ChainUnavailableError, StoreError
        If the chain file cannot be opened, or a block could not be written.
    """
    with EmbeddedNode.create_or_open(path, genesis, clock=wall_clock) as node:
        dispatcher = Dispatcher(node, dev, mining=mining, interval_s=interval_s)
        try:
            with serve_in_thread(dispatcher, host, port, allowed_hosts=allowed_hosts) as handle:
                _wait_for_signal(lambda: on_ready(handle.url, node))
        finally:
            dispatcher.close()


def _wait_for_signal(ready: Callable[[], None]) -> None:
    """Call ``ready``, then wait; a signal ends the wait instead of the process."""
    stopping = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in _STOPPING_SIGNALS}
    try:
        ready()
        stopping.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class TransactionSummary:
    """Summary of one transaction; ``method`` is empty if its selector is not known."""

    hash: bytes
    sender: Address
    to: Address | None
    method: str
    status: int
    gas_used: int
    value_wei: int


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """Summary of one block; ``timestamp`` is Unix seconds."""

    number: int
    hash: bytes
    timestamp: int
    gas_used: int
    base_fee_wei: int
    transactions: tuple[TransactionSummary, ...]


def describe(
    path: Path | str,
    *,
    last: int | None = None,
    method_names: Mapping[bytes, str] | None = None,
) -> list[BlockSummary]:
    """Return a summary of each block of a chain file, oldest first; the file is not changed.

    Parameters
    ----------
    last
        Number of newest blocks; all by default.
    method_names
        Names by 4-byte selector.

    Raises
    ------
    ChainUnavailableError
        If a node has the file open.
    StoreError
        If the file is missing, or is not a chain file.
    """
    names = method_names or {}
    with EmbeddedNode.open_read_only(Path(path)) as node:
        first = 0 if last is None else max(0, node.head_number + 1 - last)
        return [_summary(node, number, names) for number in range(first, node.head_number + 1)]


def _summary(node: EmbeddedNode, number: int, names: Mapping[bytes, str]) -> BlockSummary:
    view = node.view(number)
    assert view is not None
    return BlockSummary(
        number=number,
        hash=view.block.hash,
        timestamp=view.block.timestamp,
        gas_used=view.block.gas_used,
        base_fee_wei=view.block.base_fee_wei,
        transactions=tuple(
            _transaction_summary(record, receipt, names)
            for record, receipt in zip(view.transactions, view.receipts, strict=True)
        ),
    )


def _transaction_summary(
    record: TransactionRecord, receipt: TxReceipt, names: Mapping[bytes, str]
) -> TransactionSummary:
    return TransactionSummary(
        hash=record.hash,
        sender=record.sender,
        to=record.to,
        method="deploy" if record.to is None else names.get(record.data[:4], ""),
        status=receipt.status,
        gas_used=receipt.gas_used,
        value_wei=record.value_wei,
    )
