"""Reads blocks, transactions, receipts and logs from the chain, as records.

The newest decoded blocks are cached, so that reading a block's receipts one by one decodes it once.
Logs are searched by header blooms first.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_bloom.bloom import BloomFilter
from eth_utils.address import to_checksum_address

from contracts.blocks import LogRecord, TxReceipt
from contracts.node.admission import type_of
from contracts.node.evm import base_fee_of
from contracts.node.records import BlockRecord, LogQuery, TransactionRecord
from coordinator.protocol.types import Address

_CACHED_BLOCKS: Final = 256


@dataclass(frozen=True, slots=True)
class BlockView:
    """One decoded block."""

    block: BlockRecord
    transactions: tuple[TransactionRecord, ...]
    receipts: tuple[TxReceipt, ...]


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log that matches a query, with its receipt."""

    log: LogRecord
    receipt: TxReceipt


class BlockReader:
    """Decodes canonical blocks of one chain."""

    def __init__(self, chain: MiningChain) -> None:
        self._chain = chain
        self._views: OrderedDict[bytes, BlockView] = OrderedDict()
        self._blooms: list[int] = []

    def forget(self) -> None:
        """Clear the cache, after the chain was reverted."""
        self._views.clear()
        self._blooms.clear()

    def header(self, block: int | bytes) -> BlockHeaderAPI | None:
        """Return the canonical header with this number or hash, or ``None``."""
        try:
            if isinstance(block, int):
                return self._chain.get_canonical_block_header_by_number(block)  # type: ignore[arg-type]
            header = self._chain.get_block_header_by_hash(block)  # type: ignore[arg-type]
            canonical = self._chain.get_canonical_block_hash(header.block_number)
        except HeaderNotFound:
            return None
        return header if canonical == block else None

    def view(self, block: int | bytes) -> BlockView | None:
        """Return the decoded block with this number or hash, or ``None``."""
        header = self.header(block)
        if header is None:
            return None
        cached = self._views.get(header.hash)
        return cached if cached is not None else self.keep(self._decode(header))

    def keep(self, view: BlockView) -> BlockView:
        """Add a decoded block to the cache, and return it."""
        self._views[view.block.hash] = view
        while len(self._views) > _CACHED_BLOCKS:
            self._views.popitem(last=False)
        return view

    def place(self, transaction_hash: bytes) -> tuple[BlockView, int] | None:
        """Return a transaction's block and its index in it, or ``None``."""
        try:
            number, index = self._chain.get_canonical_transaction_index(transaction_hash)  # type: ignore[arg-type]
        except TransactionNotFound:
            return None
        view = self.view(int(number))
        return None if view is None else (view, index)

    def _decode(self, header: BlockHeaderAPI) -> BlockView:
        vm_class = self._chain.get_vm_class(header)
        transactions = self._chain.chaindb.get_block_transactions(
            header, vm_class.get_transaction_builder()
        )
        receipts = self._chain.chaindb.get_receipts(header, vm_class.get_receipt_builder())
        return make_view(header, transactions, receipts)

    def logs(self, query: LogQuery, head: int) -> Iterator[FoundLog]:
        """Iterate over the logs that match, in order of block and index."""
        self._extend_blooms(head)
        for number in range(query.from_block, min(query.to_block, head) + 1):
            if not _bloom_may_match(self._blooms[number], query):
                continue
            view = self.view(number)
            if view is None:
                continue
            for receipt in view.receipts:
                for log in receipt.logs:
                    if _matches(log, query):
                        yield FoundLog(log, receipt)

    def _extend_blooms(self, head: int) -> None:
        for number in range(len(self._blooms), head + 1):
            header = self.header(number)
            self._blooms.append(0 if header is None else header.bloom)


def make_view(
    header: BlockHeaderAPI,
    transactions: Sequence[SignedTransactionAPI],
    receipts: Sequence[ReceiptAPI],
) -> BlockView:
    """Convert py-evm's objects into records."""
    records = tuple(
        replace(
            transaction_record(transaction),
            block_number=header.block_number,
            block_hash=header.hash,
            index=index,
            effective_gas_price=_effective_price(transaction, header),
        )
        for index, transaction in enumerate(transactions)
    )
    raw_bytes = sum(len(record.raw) for record in records)
    assert isinstance(header, PragueBlockHeader)
    block = _block_record(header, raw_bytes, tuple(record.hash for record in records))
    return BlockView(block, records, tuple(_receipt_records(block, records, receipts)))


def transaction_record(transaction: SignedTransactionAPI) -> TransactionRecord:
    """Convert a decoded transaction into a record without a block."""
    type_id = type_of(transaction)
    return TransactionRecord(
        hash=bytes(transaction.hash),
        raw=bytes(transaction.encode()),
        type_id=type_id,
        chain_id=int(transaction.chain_id or 0),
        sender=_address(transaction.sender),
        to=_address(transaction.to) if transaction.to else None,
        nonce=transaction.nonce,
        value_wei=transaction.value,
        gas=transaction.gas,
        max_fee_wei=transaction.max_fee_per_gas,
        max_priority_fee_wei=transaction.max_priority_fee_per_gas,
        data=bytes(transaction.data),
        access_list=tuple(
            (_address(address), tuple(slots)) for address, slots in transaction.access_list
        ),
        v=getattr(transaction, "v", transaction.y_parity),
        r=transaction.r,
        s=transaction.s,
    )


def _block_record(
    header: PragueBlockHeader, body_bytes: int, transaction_hashes: tuple[bytes, ...]
) -> BlockRecord:
    return BlockRecord(
        number=header.block_number,
        hash=bytes(header.hash),
        parent_hash=bytes(header.parent_hash),
        timestamp=header.timestamp,
        coinbase=_address(header.coinbase),
        gas_limit=header.gas_limit,
        gas_used=header.gas_used,
        base_fee_wei=base_fee_of(header),
        state_root=bytes(header.state_root),
        transactions_root=bytes(header.transaction_root),
        receipts_root=bytes(header.receipt_root),
        withdrawals_root=bytes(header.withdrawals_root or b""),
        requests_hash=bytes(header.requests_hash),
        parent_beacon_block_root=bytes(header.parent_beacon_block_root or b""),
        uncles_hash=bytes(header.uncles_hash),
        mix_hash=bytes(header.mix_hash),
        nonce=bytes(header.nonce),
        extra_data=bytes(header.extra_data),
        bloom=header.bloom,
        blob_gas_used=header.blob_gas_used,
        excess_blob_gas=header.excess_blob_gas,
        size_bytes=len(rlp.encode(header)) + body_bytes,
        transaction_hashes=transaction_hashes,
    )


def _receipt_records(
    block: BlockRecord,
    transactions: Sequence[TransactionRecord],
    receipts: Sequence[ReceiptAPI],
) -> Iterator[TxReceipt]:
    gas_before = 0
    log_index = 0
    for transaction, receipt in zip(transactions, receipts, strict=True):
        logs = tuple(
            LogRecord(
                address=_address(log.address),
                topics=tuple(topic.to_bytes(32, "big") for topic in log.topics),
                data=bytes(log.data),
                index=log_index + offset,
            )
            for offset, log in enumerate(receipt.logs)
        )
        yield TxReceipt(
            transaction_hash=transaction.hash,
            transaction_index=transaction.index or 0,
            block_number=block.number,
            block_hash=block.hash,
            sender=transaction.sender,
            to=transaction.to,
            status=int.from_bytes(receipt.state_root, "big"),
            gas_used=receipt.gas_used - gas_before,
            cumulative_gas_used=receipt.gas_used,
            effective_gas_price=transaction.effective_gas_price or 0,
            contract_address=_created(transaction),
            logs=logs,
            bloom=receipt.bloom,
            type_id=transaction.type_id,
        )
        gas_before = receipt.gas_used
        log_index += len(logs)


def _created(transaction: TransactionRecord) -> Address | None:
    if transaction.to is not None:
        return None
    sender = bytes.fromhex(transaction.sender[2:])
    return _address(generate_contract_address(sender, transaction.nonce))  # type: ignore[arg-type]


def _effective_price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    offered = base_fee_of(header) + transaction.max_priority_fee_per_gas
    return int(min(transaction.max_fee_per_gas, offered))


def _bloom_may_match(bloom: int, query: LogQuery) -> bool:
    if bloom == 0:
        return False
    bits = BloomFilter(bloom)
    if query.addresses and not any(_raw(address) in bits for address in query.addresses):
        return False
    return all(not allowed or any(topic in bits for topic in allowed) for allowed in query.topics)


def _matches(log: LogRecord, query: LogQuery) -> bool:
    if query.addresses and log.address not in query.addresses:
        return False
    if len(query.topics) > len(log.topics):
        return False
    return all(
        not allowed or topic in allowed
        for allowed, topic in zip(query.topics, log.topics, strict=False)
    )


def _raw(address: Address) -> bytes:
    return bytes.fromhex(address[2:])


def _address(raw: bytes) -> Address:
    return Address(to_checksum_address(raw))
