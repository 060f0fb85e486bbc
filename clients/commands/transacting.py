"""Sending an operator's transaction: the amount understood, and enough money for it first."""

from eth_account.signers.local import LocalAccount
from pydantic_core import PydanticCustomError

from clients.commands.output import amount
from clients.commands.session import Session
from contracts.binding.calls import Call
from contracts.binding.transactions import Receipt
from coordinator.ledger.deployment import needed_wei
from coordinator.protocol.errors import ConfigError, LedgerError
from coordinator.protocol.types import Wei
from coordinator.settings.base import MAX_WEI, parse_wei


def send(session: Session, account: LocalAccount, call: Call) -> Receipt:
    """Send one transaction and wait until it is mined.

    Raises
    ------
    LedgerError
        If the account has too little money, before anything is sent; or if the node refuses.
    TransactionRevertedError
        If it was mined and reverted.
    """
    rpc = session.federation.rpc
    needed = needed_wei(rpc, [call])
    found = rpc.quantity("eth_getBalance", account.address, "latest")
    if found < needed:
        raise LedgerError(
            f"{call.label}: {account.address} has {amount(found)}, and needs up to "
            f"{amount(needed)} with gas: send it {amount(needed - found)}"
        )
    return session.federation.transact(account, call)


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
