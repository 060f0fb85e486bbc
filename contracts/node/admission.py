"""Rules that a raw transaction must meet before it is executed, each with a name.

py-evm's own check raises in the middle of a block; here a bad transaction never fails its block.
The rules are Prague's, and two that other nodes add: EIP-7825's gas cap and a size limit. Blob and
set-code transactions are refused, since no contract here needs them.
"""

from typing import Final

import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI, StateAPI
from eth.constants import GAS_TX
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.forks.prague.constants import STANDARD_TOKEN_COST, TOTAL_COST_FLOOR_PER_TOKEN
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.forks.shanghai.constants import INITCODE_WORD_COST
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from contracts.node.evm import GAS_CAP_PER_TRANSACTION, MAX_TRANSACTION_BYTES, base_fee_of
from coordinator.protocol.errors import LedgerError

SUPPORTED_TYPES: Final = (0, 1, 2)
MAX_INITCODE_BYTES: Final = 49_152
"""EIP-3860."""
_ACCESS_LIST: Final = {1: 7, 2: 8}
"""Index of the access list among a typed transaction's fields (EIP-2930, EIP-1559)."""
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_MAX_NONCE: Final = (1 << 64) - 2
_MAX_WORD: Final = (1 << 256) - 1


class TransactionRefusedError(LedgerError):
    """A transaction breaks a rule and does not enter a block.

    Attributes
    ----------
    code
        Stable kebab-case name of the rule, e.g. ``"nonce-too-low"``.
    transaction_hash
        Keccak-256 of the raw bytes.
    """

    def __init__(self, message: str, *, code: str, transaction_hash: bytes) -> None:
        super().__init__(message)
        self.code = code
        self.transaction_hash = transaction_hash


def type_of(transaction: SignedTransactionAPI) -> int:
    """Return the EIP-2718 type; 0 for a legacy transaction."""
    return int(getattr(transaction, "type_id", None) or 0)


def data_floor(data: bytes) -> int:
    """Return the least gas that a transaction with this calldata pays for (EIP-7623)."""
    zeros = data.count(0)
    tokens = zeros + STANDARD_TOKEN_COST * (len(data) - zeros)
    return int(GAS_TX + TOTAL_COST_FLOOR_PER_TOKEN * tokens)


def intrinsic_gas(transaction: SignedTransactionAPI) -> int:
    """Return the gas of a transaction before its first step, init code included (EIP-3860)."""
    words = (len(transaction.data) + 31) // 32 if not transaction.to else 0
    return int(transaction.intrinsic_gas) + INITCODE_WORD_COST * words


def decode_transaction(raw: bytes, *, chain_id: int) -> SignedTransactionAPI:
    """Decode a transaction and check the rules that do not depend on the chain's state.

    Raises
    ------
    TransactionRefusedError
        If the bytes are not a transaction of this chain, with the rule's name in ``code``.
    """
    refuse = _Refusal(keccak(raw))
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise refuse("too-large", f"{len(raw)} bytes, at most {MAX_TRANSACTION_BYTES}")
    transaction = _decode(raw, refuse)
    _check_chain(transaction, chain_id, refuse)
    _check_signature(transaction, refuse)
    _check_fields(transaction, refuse)
    _check_gas(transaction, refuse)
    return transaction


def check_against_state(
    transaction: SignedTransactionAPI, state: StateAPI, header: BlockHeaderAPI
) -> None:
    """Check nonce, balance, fee and block gas against a block under construction.

    Raises
    ------
    TransactionRefusedError
        With the rule's name in ``code``.
    """
    refuse = _Refusal(transaction.hash)
    expected = state.get_nonce(transaction.sender)
    if transaction.nonce < expected:
        raise refuse("nonce-too-low", f"nonce too low: found {transaction.nonce}, next {expected}")
    if transaction.nonce > expected:
        raise refuse(
            "nonce-too-high", f"nonce too high: found {transaction.nonce}, next {expected}"
        )
    base_fee = base_fee_of(header)
    if transaction.max_fee_per_gas < base_fee:
        raise refuse(
            "fee-too-low",
            "max fee per gas less than block base fee:"
            f" found {transaction.max_fee_per_gas} wei, base fee {base_fee} wei",
        )
    needed = transaction.gas * transaction.max_fee_per_gas + transaction.value
    balance = state.get_balance(transaction.sender)
    if balance < needed:
        raise refuse(
            "insufficient-funds",
            f"insufficient funds for gas * price + value: have {balance} wei, need {needed} wei",
        )
    left = header.gas_limit - header.gas_used
    if transaction.gas > left:
        raise refuse(
            "block-full", f"exceeds block gas limit: asks for {transaction.gas}, {left} left"
        )


class _Refusal:
    """Creates errors for one transaction."""

    def __init__(self, transaction_hash: bytes) -> None:
        self._hash = transaction_hash

    def __call__(self, code: str, message: str) -> TransactionRefusedError:
        return TransactionRefusedError(
            f"transaction 0x{self._hash.hex()}: {message}",
            code=code,
            transaction_hash=self._hash,
        )


def _decode(raw: bytes, refuse: _Refusal) -> SignedTransactionAPI:
    if not raw:
        raise refuse("malformed", "empty, expected a signed transaction")
    if raw[0] < 0xC0 and raw[0] not in SUPPORTED_TYPES[1:]:
        raise refuse(
            "unsupported-type",
            f"transaction type {raw[0]} is not supported, expected one of {SUPPORTED_TYPES}",
        )
    try:
        transaction = PragueTransactionBuilder.decode(raw)
    except (
        rlp.exceptions.RLPException,
        ValidationError,
        UnrecognizedTransactionType,
        ValueError,
        TypeError,
        OverflowError,
    ) as failed:
        raise refuse("malformed", f"not a signed transaction: {failed}") from failed
    if transaction.encode() != raw or not _is_flat(raw):
        raise refuse("malformed", "not in canonical RLP")
    return transaction


def _is_flat(raw: bytes) -> bool:
    """Return whether every field except the access list is bytes.

    The decoder reads an empty list as the integer 0, and keeps the original bytes: the same
    signature would be valid for two transactions with different hashes (ADR 0020).
    """
    typed = raw[0] < 0xC0
    fields = rlp.decode(raw[1:] if typed else raw)
    lists = [index for index, field in enumerate(fields) if not isinstance(field, bytes)]
    return lists == ([_ACCESS_LIST[raw[0]]] if typed else [])


def _check_chain(transaction: SignedTransactionAPI, chain_id: int, refuse: _Refusal) -> None:
    if transaction.chain_id is None:
        raise refuse("no-chain-id", "signed without a chain id (EIP-155), could be replayed")
    if transaction.chain_id != chain_id:
        raise refuse(
            "wrong-chain", f"signed for chain {transaction.chain_id}, this is chain {chain_id}"
        )


def _check_signature(transaction: SignedTransactionAPI, refuse: _Refusal) -> None:
    if not 0 < transaction.s <= _HALF_ORDER:
        raise refuse("bad-signature", "signature's s is not in the lower half of the order")
    if transaction.y_parity not in (0, 1):
        raise refuse("bad-signature", f"signature parity {transaction.y_parity}, expected 0 or 1")
    try:
        _ = transaction.sender
    except (BadSignature, ValidationError, ValueError) as failed:
        raise refuse("bad-signature", f"no sender can be recovered: {failed}") from failed


def _check_fields(transaction: SignedTransactionAPI, refuse: _Refusal) -> None:
    if transaction.nonce > _MAX_NONCE:
        raise refuse("malformed", f"nonce {transaction.nonce} is out of range (EIP-2681)")
    for name in ("value", "gas", "max_fee_per_gas", "max_priority_fee_per_gas"):
        if getattr(transaction, name) > _MAX_WORD:
            raise refuse("malformed", f"{name} does not fit 256 bits")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise refuse(
            "fee-too-low",
            f"max priority fee {transaction.max_priority_fee_per_gas} wei is above"
            f" max fee {transaction.max_fee_per_gas} wei",
        )
    try:
        transaction.validate()
    except ValidationError as failed:
        # py-evm checks the form of addresses and access lists, and for too little gas, which
        # `_check_gas` reports with its own code.
        if transaction.gas >= transaction.intrinsic_gas:
            raise refuse("malformed", str(failed)) from failed


def _check_gas(transaction: SignedTransactionAPI, refuse: _Refusal) -> None:
    if transaction.gas > GAS_CAP_PER_TRANSACTION:
        raise refuse(
            "gas-cap",
            f"asks for {transaction.gas} gas, a transaction may use at most"
            f" {GAS_CAP_PER_TRANSACTION} (EIP-7825)",
        )
    if not transaction.to and len(transaction.data) > MAX_INITCODE_BYTES:
        raise refuse(
            "initcode-too-large",
            f"init code of {len(transaction.data)} bytes, at most {MAX_INITCODE_BYTES} (EIP-3860)",
        )
    needed = max(intrinsic_gas(transaction), data_floor(transaction.data))
    if transaction.gas < needed:
        raise refuse(
            "intrinsic-gas",
            f"intrinsic gas too low: have {transaction.gas}, need {needed}",
        )
