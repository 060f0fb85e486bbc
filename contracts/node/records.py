"""The node's records, free of py-evm's types; those of mined blocks are in ``contracts.blocks``."""

from dataclasses import dataclass
from typing import Final

from contracts.node.evm import GAS_CAP_PER_TRANSACTION
from coordinator.protocol.types import Address

ZERO_ADDRESS: Final = Address("0x" + "00" * 20)
PENDING: Final = "pending"
"""In place of a block number: the next block, as if it were mined now."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call to execute; without ``to`` it creates a contract; ``gas`` is the cap by default."""

    to: Address | None
    data: bytes = b""
    sender: Address = ZERO_ADDRESS
    value_wei: int = 0
    gas: int = GAS_CAP_PER_TRANSACTION


@dataclass(frozen=True, slots=True)
class CallResult:
    """The outcome of an ``eth_call``: ``output`` is the return or the revert data."""

    output: bytes
    gas_used: int
    failure: str = ""
    is_revert: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the call returned."""
        return not self.failure


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """A signed transaction; the fields of its block are ``None`` while it is pending."""

    hash: bytes
    raw: bytes
    type_id: int
    chain_id: int
    sender: Address
    to: Address | None
    nonce: int
    value_wei: int
    gas: int
    max_fee_wei: int
    max_priority_fee_wei: int
    data: bytes
    access_list: tuple[tuple[Address, tuple[int, ...]], ...]
    v: int
    r: int
    s: int
    block_number: int | None = None
    block_hash: bytes | None = None
    index: int | None = None
    effective_gas_price: int | None = None


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block's header, and the hashes of its transactions in order."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    coinbase: Address
    gas_limit: int
    gas_used: int
    base_fee_wei: int
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    withdrawals_root: bytes
    requests_hash: bytes
    parent_beacon_block_root: bytes
    uncles_hash: bytes
    mix_hash: bytes
    nonce: bytes
    extra_data: bytes
    bloom: int
    blob_gas_used: int
    excess_blob_gas: int
    size_bytes: int
    transaction_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A search for logs by block range (inclusive), address (any of these) and topics.

    ``topics[i]`` holds the values allowed at position *i*; an empty tuple allows all.
    """

    from_block: int
    to_block: int
    addresses: tuple[Address, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()
