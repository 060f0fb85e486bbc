"""Execute transactions into a block, and calls that change no state.

A call at block *n* sees the state after *n* and the number and time of *n* itself; a pending
call sees the same state as the next block would. Gas is free for a call, so any account may call;
its balance must cover the value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.exceptions import (
    ContractCreationCollision,
    InsufficientFunds,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    Revert,
    StackDepthLimit,
    WriteProtection,
)
from eth.vm.chain_context import ChainContext
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from contracts.blocks import RefusedTransaction, revert_reason
from contracts.node.admission import (
    TransactionRefusedError,
    check_against_state,
    data_floor,
    decode_transaction,
    intrinsic_gas,
)
from contracts.node.evm import FedproofVM
from contracts.node.records import CallRequest, CallResult
from coordinator.protocol.errors import LedgerError


@dataclass(slots=True)
class Execution:
    """The result of executing candidates: parallel lists, and the header after them."""

    header: BlockHeaderAPI
    transactions: list[SignedTransactionAPI] = field(default_factory=list)
    receipts: list[ReceiptAPI] = field(default_factory=list)
    computations: list[ComputationAPI] = field(default_factory=list)
    refused: list[RefusedTransaction] = field(default_factory=list)


def decode_all(
    raw_transactions: Sequence[bytes], chain_id: int
) -> tuple[list[tuple[int, SignedTransactionAPI]], list[RefusedTransaction]]:
    """Decode a batch; return the valid transactions with their indices, and the refused."""
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
    """Execute ``candidates`` in order on the state of ``vm``.

    Each is checked against the state after the ones before it, so that a bad one is left out: in
    py-evm's own loop it would abort the block (ADR 0020). A transaction that reverts is included,
    with status 0.

    Raises
    ------
    LedgerError
        If py-evm refuses a transaction that passed our checks; there must be no block then.
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


_SEARCH_TOLERANCE: Final = 64
"""An estimate may exceed the least sufficient gas by 1/64 of it, the share EIP-150 holds back."""


def state_at(chain: MiningChain, header: BlockHeaderAPI) -> StateAPI:
    """Return the state of ``header``'s root in ``header``'s context, with free gas.

    Changes to it stay in memory.
    """
    previous = FedproofVM.get_prev_hashes(header.parent_hash, chain.chaindb)
    return FedproofVM.build_state(
        chain.chaindb.db,
        header.copy(base_fee_per_gas=0),
        ChainContext(chain.chain_id),
        previous or (),
    )


def execute_call(state: StateAPI, request: CallRequest) -> CallResult:
    """Execute ``request`` on ``state`` and undo it.

    Raises
    ------
    LedgerError
        If it cannot start: value above the balance, gas below the intrinsic cost.
    """
    computation = _run(state, request, request.gas)
    return CallResult(
        output=bytes(computation.output),
        gas_used=_gas_used(request, computation),
        failure=failure_of(computation),
        is_revert=is_revert(computation),
    )


def estimate_gas(state: StateAPI, request: CallRequest) -> tuple[int, CallResult]:
    """Return a gas limit with which ``request`` succeeds, and the call's own result.

    If no limit up to ``request.gas`` suffices, the result is a failure and the number is undefined.
    """
    result = execute_call(state, request)
    if not result.is_success:
        return request.gas, result
    too_little, enough = result.gas_used - 1, request.gas
    guess = result.gas_used
    while enough - too_little > max(1, enough // _SEARCH_TOLERANCE):
        if _succeeds(state, request, guess):
            enough = guess
        else:
            too_little = guess
        guess = (too_little + enough) // 2
    return enough, result


def _succeeds(state: StateAPI, request: CallRequest, gas: int) -> bool:
    try:
        return bool(_run(state, request, gas).is_success)
    except LedgerError:
        return False


def _run(state: StateAPI, request: CallRequest, gas: int) -> ComputationAPI:
    transaction = _spoof(state, request, gas)
    needed = max(intrinsic_gas(transaction), data_floor(request.data))
    if gas < needed:
        raise LedgerError(f"intrinsic gas too low: have {gas}, need {needed}")
    snapshot = state.snapshot()
    try:
        return state.apply_transaction(transaction)
    except ValidationError as failed:
        raise LedgerError(f"the call cannot start: {failed}") from failed
    finally:
        state.revert(snapshot)
        state.lock_changes()


def _spoof(state: StateAPI, request: CallRequest, gas: int) -> SignedTransactionAPI:
    sender = bytes.fromhex(request.sender[2:])
    to = bytes.fromhex(request.to[2:]) if request.to else CREATE_CONTRACT_ADDRESS
    unsigned = FedproofVM.create_unsigned_transaction(
        nonce=state.get_nonce(sender),  # type: ignore[arg-type]
        gas_price=0,
        gas=gas,
        to=to,  # type: ignore[arg-type]
        value=request.value_wei,
        data=request.data,
    )
    spoof = SpoofTransaction(
        unsigned, from_=sender, max_fee_per_gas=0, max_priority_fee_per_gas=0, access_list=()
    )
    return cast(SignedTransactionAPI, spoof)


def _gas_used(request: CallRequest, computation: ComputationAPI) -> int:
    spent = request.gas - computation.get_gas_remaining()
    refund = FedproofVM.calculate_net_gas_refund(spent, computation.get_gas_refund())
    return int(spent - refund + computation.data_floor_gas)


_NAMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (OutOfGas, "out of gas"),
    (InsufficientFunds, "insufficient funds for transfer"),
    (InvalidInstruction, "invalid opcode"),
    (InvalidJumpDestination, "invalid jump destination"),
    (StackDepthLimit, "call depth exceeded"),
    (WriteProtection, "write protection"),
    (ContractCreationCollision, "contract address collision"),
)


def failure_of(computation: ComputationAPI) -> str:
    """Return the reason why ``computation`` failed, empty if it did not."""
    if computation.is_success:
        return ""
    if is_revert(computation):
        reason = revert_reason(computation.output)
        return f"execution reverted: {reason}" if reason else "execution reverted"
    for kind, name in _NAMES:
        if isinstance(computation.error, kind):
            return name
    return f"execution failed: {type(computation.error).__name__}"


def is_revert(computation: ComputationAPI) -> bool:
    """Whether the contract itself reverted, so that the output is its revert data."""
    return computation.is_error and isinstance(computation.error, Revert)
