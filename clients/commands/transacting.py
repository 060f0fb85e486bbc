"""Sending an operator's transaction: parses its amount, checks the balance, waits for a receipt."""

import time
from typing import Final

from eth_account.signers.local import LocalAccount
from pydantic_core import PydanticCustomError

from clients.commands.output import amount
from clients.commands.session import Session
from contracts.binding.calls import Call
from contracts.binding.transactions import Receipt, TransactionWaitingError
from coordinator.ledger.deployment import needed_wei
from coordinator.protocol.errors import ConfigError, LedgerError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.base import MAX_WEI, parse_wei

_WAIT_S: Final = 10.0
_POLL_S: Final = 0.2


def idle_nonce(session: Session, account: LocalAccount) -> int:
    """Return the account's next nonce, once none of its transactions waits to be mined.

    Waits up to 10 s: the account of a running coordinator sends transactions too.

    Raises
    ------
    TransactionWaitingError
        If one is not mined by then: an earlier run of the same command may have sent it.
    """
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            return session.federation.transactor.idle_nonce(Address(account.address))
        except TransactionWaitingError:
            if time.monotonic() >= end:
                raise
        time.sleep(_POLL_S)


def send(session: Session, account: LocalAccount, call: Call, nonce: int | None = None) -> Receipt:
    """Send one transaction and wait until it is mined.

    Parameters
    ----------
    nonce
        From :func:`idle_nonce`, if read before it was decided to send; by default it is read now.

    Raises
    ------
    TransactionWaitingError
        If another transaction of the account waits to be mined; nothing is sent then.
    LedgerError
        If the account has too little money, before anything is sent; or if the node refuses.
    TransactionRevertedError
        If it was mined and reverted.
    """
    rpc = session.federation.rpc
    if nonce is None:
        nonce = idle_nonce(session, account)
    needed = needed_wei(rpc, [call])
    balance = rpc.quantity("eth_getBalance", account.address, "latest")
    if balance < needed:
        raise LedgerError(
            f"{call.label}: {account.address} has {amount(balance)}, and needs up to "
            f"{amount(needed)} with gas: send it {amount(needed - balance)}"
        )
    federation = session.federation
    return federation.transactor.send_as(account, call, federation.address, nonce)


def amount_of(option: str, text: str) -> Wei:
    """Read an amount of money above zero, as in a file of settings.

    Raises
    ------
    ConfigError
        Naming the option, what was found and what was expected.
    """
    try:
        wei = parse_wei(text)
    except PydanticCustomError as error:
        raise ConfigError(f"{option} {text!r}: {error.message()}") from error
    if not isinstance(wei, int) or not 0 < wei <= MAX_WEI:
        raise ConfigError(f"{option} {text!r}: expected more than 0, and at most {MAX_WEI} wei")
    return Wei(wei)
