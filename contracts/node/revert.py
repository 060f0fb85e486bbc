"""Say in one line why an execution failed, from the revert data or the kind of error."""

from typing import Final

from eth.abc import ComputationAPI
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
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")
_NAMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (OutOfGas, "out of gas"),
    (InsufficientFunds, "insufficient funds for transfer"),
    (InvalidInstruction, "invalid opcode"),
    (InvalidJumpDestination, "invalid jump destination"),
    (StackDepthLimit, "call depth exceeded"),
    (WriteProtection, "write protection"),
    (ContractCreationCollision, "contract address collision"),
)


def revert_reason(data: bytes) -> str:
    """Return the text of ``Error(string)`` or ``Panic(uint256)`` revert data, else nothing."""
    selector, body = data[:4], data[4:]
    try:
        if selector == _ERROR_SELECTOR:
            return str(decode(["string"], body)[0])
        if selector == _PANIC_SELECTOR:
            return f"panic {decode(['uint256'], body)[0]:#x}"
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return ""
    return ""


def failure_of(computation: ComputationAPI) -> str:
    """Return why ``computation`` failed; empty when it did not."""
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
    """Whether the contract itself gave up, so that the output is its revert data."""
    return computation.is_error and isinstance(computation.error, Revert)
