"""Signing contract calls with local keys, sending them, and reading their receipts.

Keys are never sent to the node. Transactions are prepared and sent in separate steps, so that many
can be prepared first and mined together. Not handled: replacing a transaction that is stuck.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from contracts.binding.calls import Call
from contracts.binding.log_reader import checked_log
from contracts.binding.logs import EVENT_SETS
from contracts.binding.records import ContractEvent, LogPlace
from contracts.binding.rpc import (
    Fields,
    PassingRefusalError,
    Rpc,
    UnexpectedAnswerError,
    hex_bytes,
    reason_text,
)
from contracts.blocks import BlockProducer, TxReceipt
from coordinator.protocol.errors import (
    ChainUnavailableError,
    LedgerError,
    StoreError,
    TransactionRevertedError,
)
from coordinator.protocol.types import Address, Wei

PRIORITY_FEE_WEI: Final = Wei(1_000_000_000)
_NEXT_BLOCK: Final = ("block-full", "nonce-too-high")
"""Refusals of the embedded node after which a transaction may succeed in a later block."""
_POLL_FIRST_S: Final = 0.02
_POLL_LONGEST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A signed transaction, ready to be sent by anyone, with its hash."""

    raw: bytes
    hash: bytes
    sender: Address
    nonce: int
    to: Address | None
    call: Call


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction that succeeded, with the events of its contract.

    ``gas_price_wei`` is the price paid per gas; ``contract_address`` is set for a deployment.
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
        """The fee that the sender paid for gas."""
        return Wei(self.gas_used * self.gas_price_wei)


class TransactionWaitingError(LedgerError):
    """An earlier transaction of the account is not mined yet; nothing was sent; try later."""


class Transactor:
    """Prepares and sends transactions of any account to one chain.

    A nonce is the chain's pending count, or one more than the last prepared here, if that is
    higher. So a restarted process continues correctly, and so does one whose account was used
    elsewhere (by an operator, by hand). An account must not send through two transactors at the
    same time. ``max_fee_wei`` fixes the fee cap per gas; without it the cap is twice the head's
    base fee plus the tip, which suffices for six full blocks in a row.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        max_fee_wei: Wei | None = None,
        priority_fee_wei: Wei = PRIORITY_FEE_WEI,
        receipt_timeout_s: float = 120.0,
    ) -> None:
        self.rpc = rpc
        self.chain_id = rpc.quantity("eth_chainId")
        self._max_fee_wei = max_fee_wei
        self._priority_fee_wei = priority_fee_wei
        self._receipt_timeout_s = receipt_timeout_s
        self._nonces: dict[str, int] = {}

    # Preparing ---------------------------------------------------------------------------

    def prepare(self, account: LocalAccount, call: Call, to: Address | None) -> SignedCall:
        """Sign a call with the account's next nonce; ``to=None`` deploys."""
        return self.prepare_all([(account, call)], to)[0]

    def prepare_all(
        self, calls: Sequence[tuple[LocalAccount, Call]], to: Address | None
    ) -> list[SignedCall]:
        """Sign several calls; reads the chain's fees once."""
        max_fee = self._max_fee_wei
        if max_fee is None:
            max_fee = Wei(2 * self.rpc.block().base_fee_wei + self._priority_fee_wei)
        return [self._sign(account, call, to, max_fee) for account, call in calls]

    def _sign(
        self, account: LocalAccount, call: Call, to: Address | None, max_fee: Wei
    ) -> SignedCall:
        sender = Address(account.address)
        nonce = self._next_nonce(sender)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": nonce,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": min(self._priority_fee_wei, max_fee),
            "gas": call.gas_limit,
            "value": call.value_wei,
            "data": call.data,
        }
        if to is not None:
            fields["to"] = to
        signed = account.sign_transaction(fields)
        self._nonces[sender] = nonce + 1
        return SignedCall(
            bytes(signed.raw_transaction), bytes(signed.hash), sender, nonce, to, call
        )

    def _next_nonce(self, sender: Address) -> int:
        pending = self.rpc.quantity("eth_getTransactionCount", sender, "pending")
        return max(pending, self._nonces.get(sender, 0))

    def idle_nonce(self, sender: Address) -> int:
        """Return an account's next nonce, if none of its transactions waits to be mined.

        To send value once, read this nonce first, then check whether the value was sent already,
        and send with this nonce only (:meth:`send_as`): then a second process sends nothing while
        the first one's transaction waits.

        Raises
        ------
        TransactionWaitingError
            If a transaction waits to be mined.
        """
        mined, sent = (
            self.rpc.quantity("eth_getTransactionCount", sender, tag)
            for tag in ("latest", "pending")
        )
        if sent > mined:
            raise TransactionWaitingError(
                f"{self.rpc.where}: {sent - mined} transaction(s) of {sender} on their way, not "
                "mined yet; nothing is sent"
            )
        return mined

    def send_as(self, account: LocalAccount, call: Call, to: Address, nonce: int) -> Receipt:
        """Sign a call and send it, if ``nonce`` is still the next; raises as :meth:`send`.

        Raises
        ------
        TransactionWaitingError
            If the account has sent another transaction since :meth:`idle_nonce`.
        """
        signed = self.prepare(account, call, to)
        if signed.nonce != nonce:
            self.forget_nonces()
            raise TransactionWaitingError(
                f"{self.rpc.where}: {signed.sender} has sent another transaction meanwhile "
                f"(number {nonce}); nothing is sent"
            )
        return self.send(signed)

    def forget_nonces(self) -> None:
        """Read nonces from the chain again, after a prepared transaction was not sent."""
        self._nonces.clear()

    # Sending -----------------------------------------------------------------------------

    def send(self, signed: SignedCall) -> Receipt:
        """Send one transaction and return its receipt once it is mined.

        Raises
        ------
        TransactionRevertedError
            If it was mined and reverted; ``reason`` is the contract's.
        LedgerError
            If the node refused it.
        ChainUnavailableError
            If the node does not answer, or does not mine it in time.
        """
        return self.send_batch([signed])[0]

    def send_batch(
        self, batch: Sequence[SignedCall], *, timestamp: int | None = None
    ) -> list[Receipt]:
        """Send transactions in order and return their receipts once all are mined.

        The embedded node in this process mines them in one block, or in as few as they fit in;
        any other node gets them one by one, and chooses the blocks itself.

        Parameters
        ----------
        timestamp
            Time of the first block; only for the embedded node in this process.

        Raises
        ------
        TransactionRevertedError
            For the first that reverted, after all were mined.
        LedgerError
            If the node refused one; others may be mined.
        """
        try:
            if (node := self.rpc.embedded_node) is not None:
                return self._mine(node, batch, timestamp)
            if timestamp is not None:
                raise LedgerError(f"{self.rpc.where}: timestamp is for an embedded node only")
            for signed in batch:
                self._submit(signed)
            return [self._finished(signed) for signed in batch]
        except TransactionRevertedError:
            raise
        except (LedgerError, StoreError):
            self.forget_nonces()
            raise

    def send_each(self, batch: Sequence[SignedCall]) -> list[Receipt | LedgerError]:
        """Send transactions in order, then wait for all; return the receipt or error of each.

        They are sent without waiting for receipts, so as many as fit are mined in one block. The
        error of one that reverted is returned in its place; if the node refuses one, those after
        it are not sent, since their nonces would leave a gap.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer, or does not mine them in time; some may be mined.
        """
        try:
            if (node := self.rpc.embedded_node) is not None:
                mined, refused = self._mined(node, batch, None)
                sent = [signed for signed in batch if signed.hash in mined]
                read = [partial(_embedded_receipt, mined[signed.hash], signed) for signed in sent]
            else:
                sent, refused = self._accepted(batch)
                read = [partial(self._finished, signed) for signed in sent]
            outcomes = {signed.hash: _outcome(get) for signed, get in zip(sent, read, strict=True)}
        except (LedgerError, StoreError):
            self.forget_nonces()
            raise
        if refused is None:
            return [outcomes[signed.hash] for signed in batch]
        self.forget_nonces()
        return [outcomes.get(signed.hash, refused) for signed in batch]

    def _accepted(self, batch: Sequence[SignedCall]) -> tuple[list[SignedCall], LedgerError | None]:
        """Submit transactions; return those that the node accepted, and the first refusal."""
        for count, signed in enumerate(batch):
            try:
                self._submit(signed)
            except ChainUnavailableError:
                raise
            except LedgerError as refused:
                return list(batch[:count]), refused
        return list(batch), None

    def _submit(self, signed: SignedCall) -> None:
        """Send a transaction to the node; one that it knows already counts as sent."""
        try:
            self.rpc.request("eth_sendRawTransaction", *hex_bytes([signed.raw]))
        except TransactionRevertedError:
            raise
        except LedgerError:
            # After a temporary error the node may have accepted it nevertheless; the retry is then
            # refused, because the transaction is known or its nonce is used.
            if not self._is_known(signed):
                raise

    def _is_known(self, signed: SignedCall) -> bool:
        try:
            transaction = self.rpc.request_once(
                "eth_getTransactionByHash", "0x" + signed.hash.hex()
            )
        except LedgerError:
            return False
        return transaction is not None

    def _mine(
        self, node: BlockProducer, batch: Sequence[SignedCall], timestamp: int | None
    ) -> list[Receipt]:
        mined, refused = self._mined(node, batch, timestamp)
        if refused is not None:
            raise refused
        return [_embedded_receipt(mined[signed.hash], signed) for signed in batch]

    def _mined(
        self, node: BlockProducer, batch: Sequence[SignedCall], timestamp: int | None
    ) -> tuple[dict[bytes, TxReceipt], LedgerError | None]:
        """Mine transactions in as few blocks as they fit in, up to the first that is refused."""
        mined: dict[bytes, TxReceipt] = {}
        waiting, refused = list(batch), None
        while waiting and refused is None:
            block = node.mine([signed.raw for signed in waiting], timestamp=timestamp)
            timestamp = None
            mined.update((receipt.transaction_hash, receipt) for receipt in block.receipts)
            for refusal in block.refused:
                if refusal.code not in _NEXT_BLOCK or not block.receipts:
                    label = waiting[refusal.index].call.label
                    refused = refused or LedgerError(f"{label}: {refusal.message}")
            waiting = [waiting[refusal.index] for refusal in block.refused]
        return mined, refused

    def _finished(self, signed: SignedCall) -> Receipt:
        receipt = self._wait(signed)
        if receipt.number("status") == 1:
            return _receipt_of(receipt.values, signed)
        block = receipt.number("blockNumber")
        raise _reverted_error(signed, block, self._why(signed, block, receipt.number("gasUsed")))

    def _wait(self, signed: SignedCall) -> Fields:
        """Wait for the receipt; a busy node, or a malformed answer, only delays it."""
        end = time.monotonic() + self._receipt_timeout_s
        pause = _POLL_FIRST_S
        while True:
            last_error = ""
            try:
                receipt = self.rpc.fields("eth_getTransactionReceipt", "0x" + signed.hash.hex())
                # For a transaction that still waits, some nodes have a receipt without a block.
                if receipt is not None and not receipt.is_null("blockNumber"):
                    return _checked_receipt(receipt)
            except (PassingRefusalError, UnexpectedAnswerError) as error:
                last_error = f" ({error})"
            if time.monotonic() >= end:
                raise ChainUnavailableError(
                    f"{self.rpc.where}: {signed.call.label} (0x{signed.hash.hex()}) not mined"
                    f" after {self._receipt_timeout_s:g} s{last_error}; it may be mined yet"
                )
            time.sleep(pause)
            pause = min(2 * pause, _POLL_LONGEST_S)

    def _why(self, signed: SignedCall, block: int, gas_used: int) -> str:
        """Run a reverted call again for its reason, which is not in the receipt.

        First on the state after its block, which has the block's time and differs only by the
        block's other transactions; then on the state before. It may fail for another reason there,
        so the reason is for messages only (ADR 0016).
        """
        if gas_used >= signed.call.gas_limit:
            return "out of gas"
        if signed.to is None:
            return ""
        fields = {
            "from": signed.sender,
            "value": hex(signed.call.value_wei),
            "gas": hex(signed.call.gas_limit),
        }
        for state in (block, block - 1):
            try:
                self.rpc.call(signed.to, signed.call.data, state, **fields)
            except TransactionRevertedError as reverted:
                return reverted.reason
            except LedgerError:
                continue  # the reason stays unknown
        return ""


def _outcome(receipt: Callable[[], Receipt]) -> Receipt | LedgerError:
    try:
        return receipt()
    except TransactionRevertedError as reverted:
        return reverted


def _checked_receipt(receipt: Fields) -> Fields:
    """Return the receipt of a mined transaction, if the fields that are used have the right form.

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


def _receipt_of(receipt: Mapping[str, Any], signed: SignedCall) -> Receipt:
    """Return the receipt of a transaction that succeeded, from a node's answer."""
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


def _embedded_receipt(receipt: TxReceipt, signed: SignedCall) -> Receipt:
    """Return the receipt of a transaction, from the node in this process.

    Raises
    ------
    TransactionRevertedError
        If the transaction reverted.
    """
    if not receipt.is_success:
        # The node's own prefix; the text after it, if any, is the contract's.
        reason = reason_text(receipt.revert_data) or receipt.failure
        reason = reason.removeprefix("execution reverted")
        raise _reverted_error(signed, receipt.block_number, reason)
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


def _reverted_error(signed: SignedCall, block: int, reason: str) -> TransactionRevertedError:
    """Return the error for a transaction that was mined and reverted."""
    return TransactionRevertedError(
        f"{signed.call.label} by {signed.sender} reverted in block {block}:"
        f" {reason or 'no reason given'}",
        reason=reason,
    )
