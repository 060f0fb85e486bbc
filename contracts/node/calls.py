"""Read state, and execute calls that leave no trace.

A call at block *n* sees the state after *n* and the number and time of *n* itself; a pending
call sees the same state as the next block would. Gas is free, so any sender may call; a value
that is sent must be there.
"""

from dataclasses import dataclass
from typing import Final, cast

from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.vm.chain_context import ChainContext
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from contracts.node.admission import data_floor, intrinsic_gas
from contracts.node.evm import GAS_CAP_PER_TRANSACTION, FedproofVM
from contracts.node.genesis import ZERO_ADDRESS
from contracts.node.records import CallResult
from contracts.node.revert import failure_of, is_revert
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address

_SEARCH_TOLERANCE: Final = 64
"""Gas that an estimate may exceed the least sufficient amount by: 1 in 64, as 63/64 rules eat."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What to execute; no ``to`` means contract creation, ``gas`` the cap by default."""

    to: Address | None
    data: bytes = b""
    sender: Address = ZERO_ADDRESS
    value_wei: int = 0
    gas: int = GAS_CAP_PER_TRANSACTION


def state_at(chain: MiningChain, header: BlockHeaderAPI) -> StateAPI:
    """Return the state of ``header``'s root in ``header``'s context, with gas for free.

    Writes to it stay in memory.
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
        If it could not even start: value above the balance, gas below the intrinsic cost.
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

    The result is a failure if no limit up to ``request.gas`` is enough; then the number means
    nothing.
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
