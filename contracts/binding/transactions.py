"""Signing contract calls with local keys, sending them, and reading their receipts.

No key ever goes to the node. Preparing and sending are apart, so that many transactions can be
prepared first and mined together. Not handled: replacing a transaction that is stuck.
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
"""Refusals of the embedded node that a later block may lift."""
_POLL_FIRST_S: Final = 0.02
_POLL_LONGEST_S: Final = 1.0


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


class TransactionWaitingError(LedgerError):
    """The account's earlier transaction is not mined yet; nothing was sent. It passes."""


class Transactor:
    """Prepares and sends transactions of any account to one chain.

    Nonces are the chain's pending count, or what was prepared here beyond it: so a restarted
    process goes on where the chain is, and so does one whose account somebody used elsewhere (an
    operator, by hand). An account must not send through two transactors at the same moment.
    ``max_fee_wei`` fixes the fee cap per gas; without it the cap is twice the head's base
    fee plus the tip, which leaves room for six full blocks in a row.
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
        """Sign several calls, with one look at the chain's fees."""
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
        seen = self.rpc.quantity("eth_getTransactionCount", sender, "pending")
        return max(seen, self._nonces.get(sender, 0))

    def idle_nonce(self, sender: Address) -> int:
        """Return the next nonce of an account none of whose transactions waits to be mined.

        Whoever sends value asks for it before looking whether that was sent already, and sends with
        no other: then a second process sends nothing while the first one's transaction waits.

        Raises
        ------
        TransactionWaitingError
            If one waits.
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
        """Sign a call and send it, if :meth:`idle_nonce` is what it was; raises as :meth:`send`.

        Raises
        ------
        TransactionWaitingError
            If the account has sent something else since.
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
        """Ask the chain again: after a prepared transaction was not sent after all."""
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

        The embedded node in this process makes one block of them, or as few as they fit in;
        any other node gets them one by one, and decides on blocks itself.

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
                raise LedgerError(f"{self.rpc.where}: block times are not ours to choose")
            for signed in batch:
                self._hand_over(signed)
            return [self._finished(signed) for signed in batch]
        except TransactionRevertedError:
            raise
        except (LedgerError, StoreError):
            self.forget_nonces()
            raise

    def send_each(self, batch: Sequence[SignedCall]) -> list[Receipt | LedgerError]:
        """Send transactions in order, then wait for all; return what became of each.

        None waits for another's receipt, so as many as fit are mined in one block. One that
        reverted does not hide what became of the others; where the node refuses one, those after
        it are not sent either: their nonces would leave a gap.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer, or does not mine them in time; some may be mined.
        """
        try:
            if (node := self.rpc.embedded_node) is not None:
                mined, refused = self._mined(node, batch, None)
                taken = [signed for signed in batch if signed.hash in mined]
                read = [partial(_embedded_receipt, mined[one.hash], one) for one in taken]
            else:
                taken, refused = self._accepted(batch)
                read = [partial(self._finished, signed) for signed in taken]
            outcomes = {one.hash: _outcome(get) for one, get in zip(taken, read, strict=True)}
        except (LedgerError, StoreError):
            self.forget_nonces()
            raise
        if refused is None:
            return [outcomes[signed.hash] for signed in batch]
        self.forget_nonces()
        return [outcomes.get(signed.hash, refused) for signed in batch]

    def _accepted(self, batch: Sequence[SignedCall]) -> tuple[list[SignedCall], LedgerError | None]:
        """Hand transactions to the node; return those it took, and why it refused the next."""
        for count, signed in enumerate(batch):
            try:
                self._hand_over(signed)
            except ChainUnavailableError:
                raise
            except LedgerError as refused:
                return list(batch[:count]), refused
        return list(batch), None

    def _hand_over(self, signed: SignedCall) -> None:
        """Give a transaction to the node; one that it has already is given."""
        try:
            self.rpc.request("eth_sendRawTransaction", *hex_bytes([signed.raw]))
        except TransactionRevertedError:
            raise
        except LedgerError:
            # A refusal that passed may have come after the node took it: then it says, asked again,
            # that it knows the transaction or that its nonce is used.
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
            for bad in block.refused:
                if bad.code not in _NEXT_BLOCK or not block.receipts:
                    label = waiting[bad.index].call.label
                    refused = refused or LedgerError(f"{label}: {bad.message}")
            waiting = [waiting[bad.index] for bad in block.refused]
        return mined, refused

    def _finished(self, signed: SignedCall) -> Receipt:
        receipt = self._wait(signed)
        if receipt.number("status") == 1:
            return _receipt_of(receipt.found, signed)
        block = receipt.number("blockNumber")
        raise _reverted_error(signed, block, self._why(signed, block, receipt.number("gasUsed")))

    def _wait(self, signed: SignedCall) -> Fields:
        """Wait for the receipt. A node that has no time for it, or no form, says nothing of it."""
        end = time.monotonic() + self._receipt_timeout_s
        pause = _POLL_FIRST_S
        while True:
            trouble = ""
            try:
                receipt = self.rpc.fields("eth_getTransactionReceipt", "0x" + signed.hash.hex())
                # some nodes have a receipt without a block of what still waits
                if receipt is not None and not receipt.is_null("blockNumber"):
                    return _checked_receipt(receipt)
            except (PassingRefusalError, UnexpectedAnswerError) as error:
                trouble = f" ({error})"
            if time.monotonic() >= end:
                raise ChainUnavailableError(
                    f"{self.rpc.where}: {signed.call.label} (0x{signed.hash.hex()}) not mined"
                    f" after {self._receipt_timeout_s:g} s{trouble}; it may be mined yet"
                )
            time.sleep(pause)
            pause = min(2 * pause, _POLL_LONGEST_S)

    def _why(self, signed: SignedCall, block: int, gas_used: int) -> str:
        """Run a reverted call again for its reason, which receipts do not carry.

        On the state after its block first: it has the block's time, and differs from what the
        transaction saw only by what else is in the block. Then on the state before. It may fail
        for another reason there, so this is for people and proves nothing (ADR 0016).
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
                continue  # without the reason: that it reverted is known
        return ""


def _outcome(receipt: Callable[[], Receipt]) -> Receipt | LedgerError:
    try:
        return receipt()
    except TransactionRevertedError as reverted:
        return reverted


def _checked_receipt(receipt: Fields) -> Fields:
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


def _receipt_of(receipt: Mapping[str, Any], signed: SignedCall) -> Receipt:
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


def _embedded_receipt(receipt: TxReceipt, signed: SignedCall) -> Receipt:
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
