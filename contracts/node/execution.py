"""Execute candidate transactions into one block, refusing the bad ones by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth_utils.exceptions import ValidationError

from contracts.node.admission import (
    TransactionRefusedError,
    check_against_state,
    decode_transaction,
)
from contracts.node.evm import FedproofVM
from contracts.node.records import RefusedTransaction
from coordinator.protocol.errors import LedgerError


@dataclass(slots=True)
class Execution:
    """What came of the candidates: parallel lists, and the header so far."""

    header: BlockHeaderAPI
    transactions: list[SignedTransactionAPI] = field(default_factory=list)
    receipts: list[ReceiptAPI] = field(default_factory=list)
    computations: list[ComputationAPI] = field(default_factory=list)
    refused: list[RefusedTransaction] = field(default_factory=list)


def decode_all(
    raw_transactions: Sequence[bytes], chain_id: int
) -> tuple[list[tuple[int, SignedTransactionAPI]], list[RefusedTransaction]]:
    """Decode a batch; return the good ones with their places, and the refused."""
    decoded: list[tuple[int, SignedTransactionAPI]] = []
    refused: list[RefusedTransaction] = []
    for index, raw in enumerate(raw_transactions):
        try:
            decoded.append((index, decode_transaction(raw, chain_id=chain_id)))
        except TransactionRefusedError as bad:
            refused.append(_record(index, bad))
    return decoded, refused


def execute(
    vm: FedproofVM,
    header: BlockHeaderAPI,
    candidates: Iterable[tuple[int, SignedTransactionAPI]],
) -> Execution:
    """Run ``candidates`` in order on the state of ``vm``.

    Each is checked against the state that the ones before it left, so a bad one costs only
    itself. A transaction that reverts is included, with status 0.

    Raises
    ------
    LedgerError
        If py-evm refuses what passed our checks: the block must not be made.
    """
    done = Execution(header)
    for index, transaction in candidates:
        try:
            check_against_state(transaction, vm.state, done.header)
        except TransactionRefusedError as bad:
            done.refused.append(_record(index, bad))
            continue
        _include(vm, done, transaction)
    return done


def _include(vm: FedproofVM, done: Execution, transaction: SignedTransactionAPI) -> None:
    try:
        receipt, computation = vm.apply_transaction(done.header, transaction)
    except ValidationError as failed:
        raise LedgerError(
            f"block {done.header.block_number}: transaction 0x{transaction.hash.hex()} passed"
            f" admission, but the EVM refuses it: {failed}"
        ) from failed
    header = vm.add_receipt_to_header(done.header, receipt)
    done.header = vm.increment_blob_gas_used(header, transaction)
    done.transactions.append(transaction)
    done.receipts.append(receipt)
    done.computations.append(computation)


def _record(index: int, bad: TransactionRefusedError) -> RefusedTransaction:
    return RefusedTransaction(index, bad.transaction_hash, bad.code, str(bad))
