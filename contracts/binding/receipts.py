"""A signed call, and what a mined one came to, wherever the receipt is from.

Not handled: signing and sending (``transactions``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from contracts.binding.calls import Call
from contracts.binding.log_reader import checked_log
from contracts.binding.logs import EVENT_SETS
from contracts.binding.records import ContractEvent, LogPlace
from contracts.binding.rpc import Fields, reason_text
from contracts.blocks import TxReceipt
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.types import Address, Wei


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A signed transaction, ready to be sent by anyone. ``hash`` is known before it is."""

    raw: bytes
    hash: bytes
    sender: Address
    nonce: int
    to: Address | None
    call: Call


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction that succeeded, with its contract's events in it.

    ``gas_price_wei`` is what was paid per gas; ``contract_address`` is set for a deployment.
    """

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int
    gas_price_wei: Wei
    contract_address: Address | None
    events: tuple[ContractEvent, ...]

    @property
    def fee_wei(self) -> Wei:
        """What the sender paid for gas."""
        return Wei(self.gas_used * self.gas_price_wei)


def checked_receipt(receipt: Fields) -> Fields:
    """Return the receipt of a mined transaction, if all that is read of it has the right form.

    Raises
    ------
    UnexpectedAnswerError
        Naming the field.
    """
    for name in ("status", "blockNumber", "gasUsed", "effectiveGasPrice"):
        receipt.number(name)
    for name in ("transactionHash", "blockHash"):
        receipt.digest(name)
    if not receipt.is_null("contractAddress"):
        receipt.address("contractAddress")
    for log in receipt.objects("logs"):
        checked_log(log)
    return receipt


def receipt_of(receipt: Mapping[str, Any], signed: SignedCall) -> Receipt:
    """Read the receipt that a node gave of a transaction that succeeded."""
    created = receipt.get("contractAddress")
    emitter = (signed.to or created or "").lower()
    events = EVENT_SETS[signed.call.contract]
    logs = [log for log in receipt["logs"] if log["address"].lower() == emitter]
    return Receipt(
        transaction_hash=bytes.fromhex(receipt["transactionHash"][2:]),
        block_number=int(receipt["blockNumber"], 16),
        block_hash=bytes.fromhex(receipt["blockHash"][2:]),
        gas_used=int(receipt["gasUsed"], 16),
        gas_price_wei=Wei(int(receipt["effectiveGasPrice"], 16)),
        contract_address=Address(to_checksum_address(created)) if created else None,
        events=tuple(events.decode_log(log) for log in logs),
    )


def embedded_receipt(receipt: TxReceipt, signed: SignedCall) -> Receipt:
    """Read a receipt of the node in this process.

    Raises
    ------
    TransactionRevertedError
        If the transaction reverted.
    """
    if not receipt.is_success:
        # "execution reverted" is the node's word; what follows it, if anything, the contract's.
        reason = reason_text(receipt.revert_data) or receipt.failure
        reason = reason.removeprefix("execution reverted")
        raise reverted_error(signed, receipt.block_number, reason)
    emitter = signed.to or receipt.contract_address
    decode = EVENT_SETS[signed.call.contract].decode
    events = [
        decode(
            log.topics,
            log.data,
            LogPlace(
                block_number=receipt.block_number,
                transaction_hash=receipt.transaction_hash,
                log_index=log.index,
            ),
        )
        for log in receipt.logs
        if log.address == emitter
    ]
    return Receipt(
        transaction_hash=receipt.transaction_hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        gas_price_wei=Wei(receipt.effective_gas_price),
        contract_address=receipt.contract_address,
        events=tuple(events),
    )


def reverted_error(signed: SignedCall, block: int, reason: str) -> TransactionRevertedError:
    """Return the error for a transaction that was mined and reverted."""
    return TransactionRevertedError(
        f"{signed.call.label} by {signed.sender} reverted in block {block}:"
        f" {reason or 'no reason given'}",
        reason=reason,
    )
