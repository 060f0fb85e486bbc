"""What the node hands out: frozen records, free of py-evm's types."""

from dataclasses import dataclass

from contracts.node.revert import revert_reason
from coordinator.protocol.types import Address


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
        """The contract's own word for a revert; empty where it gave none."""
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
    """A signed transaction; the place in a block is ``None`` while it is pending."""

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
