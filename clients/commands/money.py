"""An account's money: ``fedproof join | leave | withdraw | claim | fund | balance``.

Each prints its transaction with block and fee. The coordinator's own account is bonded and unbonded
by the same commands.
"""

from typing import Annotated, Any

import typer
from eth_account.signers.local import LocalAccount

from clients.commands.output import amount, duration, moment, report, report_nothing_sent
from clients.commands.session import AsJson, Session, with_session
from clients.commands.transacting import amount_of, idle_nonce, send
from clients.commands.waiting import Wait, wait_until
from clients.daemon.earnings import Earnings, earnings
from contracts.binding import calls
from contracts.binding.calls import Call
from contracts.binding.records import AccountState
from contracts.binding.transactions import Receipt
from coordinator.commands.output import console, print_json
from coordinator.protocol.errors import (
    ConfigError,
    LedgerError,
    StoreError,
    TransactionRevertedError,
)
from coordinator.protocol.types import Address, Wei

_BAD_PROOF = "claim: bad proof"
_STILL_LIVE = "round: still live"


@with_session
def join(
    session: Session,
    stake: Annotated[
        str | None,
        typer.Option(help='Amount to add, e.g. "2 ether"; default: what the bond lacks.'),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bond a stake: in rounds that open from then on, the account's updates count.

    Without --stake, tops the bond up to the amount in the configuration, or to the contract's
    minimum. Run twice, it bonds once: it sends nothing while a transaction of the account waits to
    be mined.

    Examples:

      [bold]fedproof join --config participant.toml[/bold]

      [bold]fedproof join --rpc URL --contract 0x... --key me.json --stake "2 ether"[/bold]

    Exit status: 0 bonded, or was already; 2 bad options; 5 chain; 7 key.
    """
    account = session.unlock()
    address, least = Address(account.address), _least_bond(session)
    # Before the bond is read: a transaction that waits may be an earlier run's bond.
    nonce = idle_nonce(session, account)
    bond = session.federation.account(address).bond_wei
    lacking = max(session.options.bond_wei, least) - bond
    missing = Wei(lacking) if stake is None else amount_of("--stake", stake)
    if missing <= 0:
        text = f"{address} has a bond of {amount(bond)} already: nothing is sent"
        facts = {"account": address, "bonded_wei": "0", "bond_wei": str(bond)}
        report_nothing_sent(as_json, text, facts)
        return
    if bond + missing < least:
        raise ConfigError(
            f"--stake {amount(missing)}: with {amount(bond)} bonded so far that is below the "
            f"contract's minimum, {amount(least)}"
        )
    is_coordinator = address == session.federation.terms.coordinator
    call = calls.bond_coordinator(missing) if is_coordinator else calls.join(missing)
    receipt = send(session, account, call, nonce)
    bond = session.federation.account(address).bond_wei
    text = f"bonded {amount(missing)}; the bond of {address} is {amount(bond)}"
    facts = {"account": address, "bonded_wei": str(missing), "bond_wei": str(bond)}
    report(as_json, receipt, text, facts)


@with_session
def leave(session: Session, wait: Wait = False, as_json: AsJson = False) -> None:
    """Start unbonding the whole bond; it can still be slashed until it is withdrawn.

    The account takes no part in rounds that open from then on. fedproof balance shows when the
    money is free; fedproof withdraw withdraws it. The coordinator can leave when every round is
    final or void: --wait waits for that.

    Example: [bold]fedproof leave --config participant.toml[/bold]

    Exit status: 0; 2 bad options; 5 chain, or nothing is bonded; 7 key.
    """
    account = session.unlock()
    address = Address(account.address)
    if not session.federation.account(address).bond_wei:
        raise LedgerError(f"{address} has no bond: there is nothing to unbond")
    if address == session.federation.terms.coordinator:
        receipt = _unbond_coordinator(session, account, wait)
    else:
        receipt = send(session, account, calls.leave())
    state = session.federation.account(address)
    text = f"unbonding {amount(state.unbonding_wei)}, free from {moment(state.matures_at)}"
    facts = {
        "account": address,
        "unbonding_wei": str(state.unbonding_wei),
        "matures_at": state.matures_at,
    }
    report(as_json, receipt, text, facts)


def _unbond_coordinator(session: Session, account: LocalAccount, wait: bool) -> Receipt:
    while True:
        try:
            return send(session, account, calls.unbond_coordinator())
        except TransactionRevertedError as error:
            if not wait or error.reason != _STILL_LIVE:
                raise
        wait_until(lambda: _live_rounds(session))


def _live_rounds(session: Session) -> str | None:
    head = session.federation.head()
    if head.open_round:
        return f"round {head.open_round} is open"
    if head.height != head.final_height:
        return f"round {head.head_round} is not final yet"
    return None


@with_session
def withdraw(session: Session, wait: Wait = False, as_json: AsJson = False) -> None:
    """Withdraw unbonded money once it is free; if there is none, bounties for proven offences.

    With --wait, waits until the unbonding money is free.

    Example: [bold]fedproof withdraw --config participant.toml[/bold]

    Exit status: 0; 2 bad options; 5 chain, nothing to withdraw, or not free yet; 7 key.
    """
    account = session.unlock()
    address = Address(account.address)
    if wait:
        wait_until(lambda: _unfree(address, session))
    state, now = session.federation.account(address), session.now()
    call, wei, what = _withdrawal(address, state, now)
    receipt = send(session, account, call)
    facts = {"account": address, "withdrawn_wei": str(wei), "what": what}
    report(as_json, receipt, f"withdrew {amount(wei)} of {what}", facts)


def _withdrawal(address: Address, state: AccountState, now: int) -> tuple[Call, Wei, str]:
    if state.unbonding_wei and state.matures_at <= now:
        return calls.withdraw(), state.unbonding_wei, "unbonded funds"
    if state.credit_wei:
        return calls.collect(), state.credit_wei, "bounties"
    if state.unbonding_wei:
        left = duration(state.matures_at - now)
        raise LedgerError(f"{_until_free(address, state)}, another {left}")
    hint = f"; {amount(state.bond_wei)} are bonded (fedproof leave)" if state.bond_wei else ""
    raise LedgerError(f"{address} has nothing unbonding{hint}")


def _unfree(address: Address, session: Session) -> str | None:
    state = session.federation.account(address)
    return _until_free(address, state) if state.matures_at > session.now() else None


def _until_free(address: Address, state: AccountState) -> str:
    return (
        f"{address}: {amount(state.unbonding_wei)} are unbonding until {moment(state.matures_at)}"
    )


@with_session
def claim(session: Session, as_json: AsJson = False) -> None:
    """Claim all rewards of final rounds, with one proof from the store.

    Example: [bold]fedproof claim --config participant.toml[/bold]

    Exit status: 0 paid, or nothing is due; 1 the store lacks the rewards or has wrong ones;
    2 bad options; 5 chain; 6 the store does not answer; 7 key.
    """
    account = session.unlock()
    address = Address(account.address)
    due = _earnings(session, address)
    if not due.owed_wei:
        text = f"nothing is due: {address} has claimed {amount(due.claimed_wei)} so far"
        facts = {"account": address, "claimed_wei": "0"}
        report_nothing_sent(as_json, text, facts)
        return
    try:
        receipt = send(session, account, calls.claim(due.cumulative_wei, due.proof))
    except TransactionRevertedError as error:
        if error.reason != _BAD_PROOF:
            raise
        # A round became final in between: its rewards need another proof.
        due = _earnings(session, address)
        receipt = send(session, account, calls.claim(due.cumulative_wei, due.proof))
    facts = {
        "account": address,
        "claimed_wei": str(due.owed_wei),
        "cumulative_wei": str(due.cumulative_wei),
    }
    report(as_json, receipt, f"claimed {amount(due.owed_wei)} for {address}", facts)


@with_session
def fund(
    session: Session,
    value: Annotated[str, typer.Argument(metavar="AMOUNT", help='For example "10 ether".')],
    as_json: AsJson = False,
) -> None:
    """Add money to the reward pool, which pays only rewards.

    Sends nothing while an earlier transaction of the account waits to be mined.

    Example: [bold]fedproof fund "10 ether" --config coordinator.toml[/bold]

    Exit status: 0; 2 bad options; 5 chain; 7 key.
    """
    wei = amount_of("AMOUNT", value)
    receipt = send(session, session.unlock(), calls.fund(wei))
    pool = session.federation.head().pool_wei
    text = f"added {amount(wei)}; the pool is {amount(pool)}"
    report(as_json, receipt, text, {"funded_wei": str(wei), "pool_wei": str(pool)})


@with_session
def balance(session: Session, as_json: AsJson = False) -> None:
    """Show an account's money: wallet, bond, unbonding amount and its date, rewards.

    Needs no password. Rewards of rounds that are not final yet are not shown.

    Example: [bold]fedproof balance --config participant.toml[/bold]

    Exit status: 0; 1 or 6 if the earnings cannot be read from the store (the rest is shown); 2 bad
    options; 5 chain.
    """
    address = session.address
    wallet = session.federation.rpc.quantity("eth_getBalance", address, "latest")
    state, now = session.federation.account(address), session.now()
    due, store_error = None, None
    try:
        due = _earnings(session, address) if session.options.store is not None else None
    except StoreError as error:
        store_error = error
    if as_json:
        print_json(_balance_json(address, wallet, state, due))
    else:
        for name, text in _balance_lines(address, wallet, state, due, now):
            console.print(f"{name:<10} {text}", soft_wrap=True)
    if store_error is not None:
        raise store_error


def _balance_json(
    address: Address, wallet: int, state: AccountState, due: Earnings | None
) -> dict[str, Any]:
    return {
        "account": address,
        "member": state.index or None,
        "wallet_wei": str(wallet),
        "bond_wei": str(state.bond_wei),
        "unbonding_wei": str(state.unbonding_wei),
        "matures_at": state.matures_at or None,
        "bounties_wei": str(state.credit_wei),
        "claimed_wei": str(state.claimed_wei),
        "unclaimed_wei": None if due is None else str(due.owed_wei),
    }


def _balance_lines(
    address: Address, wallet: int, state: AccountState, due: Earnings | None, now: int
) -> list[tuple[str, str]]:
    lines = [("account", address), ("wallet", amount(wallet)), ("bond", amount(state.bond_wei))]
    if state.unbonding_wei:
        left = state.matures_at - now
        free = "free now" if left <= 0 else f"free in {duration(left)}, {moment(state.matures_at)}"
        lines.append(("unbonding", f"{amount(state.unbonding_wei)}, {free}"))
    else:
        lines.append(("unbonding", amount(0)))
    if state.credit_wei:
        lines.append(("bounties", f"{amount(state.credit_wei)} (fedproof withdraw)"))
    owed = "unknown: needs the artifact store (--store)" if due is None else amount(due.owed_wei)
    return [*lines, ("unclaimed", owed), ("claimed", amount(state.claimed_wei))]


def _least_bond(session: Session) -> Wei:
    terms = session.federation.terms
    is_coordinator = session.address == terms.coordinator
    return terms.min_coordinator_bond_wei if is_coordinator else terms.min_stake_wei


def _earnings(session: Session, address: Address) -> Earnings:
    store = session.store()
    if store is None:
        raise ConfigError("no artifact store: give --store URL, or --config participant.toml")
    return earnings(session.federation, store, address)
