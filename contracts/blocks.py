"""What comes of transactions: blocks, receipts and logs as frozen records.

The node makes them and the binding reads them, so they stand below both: neither imports the
other. Free of py-evm's types, and cheap to import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from coordinator.protocol.types import Address

_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")


def revert_reason(data: bytes) -> str:
    """Return the text of ``Error(string)`` or ``Panic(uint256)`` revert data, else nothing.

    Examples
    --------
    >>> revert_reason(bytes.fromhex("4e487b71") + bytes(31) + b"\\x11")
    'panic 0x11'
    """
    selector, body = data[:4], data[4:]
    try:
        if selector == _ERROR_SELECTOR:
            return str(decode(["string"], body)[0])
        if selector == _PANIC_SELECTOR:
            return f"panic {decode(['uint256'], body)[0]:#04x}"
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return ""
    return ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One event; ``index`` counts within its block."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """The outcome of one mined transaction.

    Attributes
    ----------
    status
        1 if it took effect, 0 if it reverted or ran out of gas.
    gas_used, cumulative_gas_used
        Of this transaction; of the block up to and with it.
    contract_address
        Where it deployed code, else ``None``.
    failure
        Why status is 0, in one line: the contract's own reason where it gave one. Empty on
        success, and for receipts read back from the store, which does not keep it.
    revert_data
        Raw data of the revert, same caveat.
    """

    transaction_hash: bytes
    transaction_index: int
    block_number: int
    block_hash: bytes
    sender: Address
    to: Address | None
    status: int
    gas_used: int
    cumulative_gas_used: int
    effective_gas_price: int
    contract_address: Address | None
    logs: tuple[LogRecord, ...]
    bloom: int
    type_id: int
    failure: str = ""
    revert_data: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the transaction took effect."""
        return self.status == 1

    @property
    def revert_reason(self) -> str:
        """The reason the contract gave for a revert; empty where it gave none."""
        return revert_reason(self.revert_data)


@dataclass(frozen=True, slots=True)
class RefusedTransaction:
    """A raw transaction that did not get into a block.

    ``code`` is a stable kebab-case name of the rule; ``index`` its place in the batch.
    """

    index: int
    transaction_hash: bytes
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """One new block: what went in, and what was refused."""

    number: int
    hash: bytes
    timestamp: int
    receipts: tuple[TxReceipt, ...]
    refused: tuple[RefusedTransaction, ...]


class BlockProducer(Protocol):
    """A node in this process that makes a block when it is asked to."""

    def mine(
        self, raw_transactions: Sequence[bytes] = (), *, timestamp: int | None = None
    ) -> MinedBlock:
        """Make exactly one block of ``raw_transactions``, in order."""
