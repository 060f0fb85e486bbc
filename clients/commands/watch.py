"""``fedproof watch``: follow a federation, replay every round, prove fraud on chain."""

import time
from typing import Annotated

import typer
from eth_account.signers.local import LocalAccount

from clients.commands.connection import (
    AsJson,
    Ca,
    Connection,
    Contract,
    DryRun,
    Key,
    PasswordFile,
    Rpc,
    Store,
    connect,
    signer,
)
from coordinator.audit.watch.findings import Notice, NoticeHandler
from coordinator.audit.watch.questions import DEFAULT_CHUNKS, DEFAULT_RECORDS
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.commands.output import console, print_json_line
from coordinator.protocol.amounts import exact_ether
from coordinator.protocol.errors import LedgerError


def watch(
    rpc: Rpc,
    store: Store,
    key: Key = None,
    password_file: PasswordFile = None,
    contract: Contract = None,
    ca: Ca = None,
    dry_run: DryRun = False,
    once: Annotated[
        bool, typer.Option("--once", help="Check every round that is sealed now, then exit.")
    ] = False,
    lag: Annotated[
        int, typer.Option(min=0, help="Check a round only once this many newer ones are sealed.")
    ] = 0,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Ask for columns even where one proof suffices."),
    ] = False,
    chunks: Annotated[
        int, typer.Option(min=1, help="Chunks of a withheld vector to demand, a deposit each.")
    ] = DEFAULT_CHUNKS,
    records: Annotated[
        int, typer.Option(min=1, help="Records of a withheld document to demand, a deposit each.")
    ] = DEFAULT_RECORDS,
    store_patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Seconds of chain time without an answer from the store before that counts as "
            "withholding; at most, and by default, a quarter of the challenge window.",
        ),
    ] = None,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two checks.")] = 2.0,
    patience: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for a node that does not answer.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Follow a federation: replay every sealed round, and prove fraud to its referee.

    Prints each fault, the cost of proving it and the bounty, before it sends a transaction. It
    keeps no state of its own, so it can be killed and started again at any time.

    Examples:

      [bold]fedproof watch --rpc http://127.0.0.1:8545 --store runs/quickstart --dry-run[/bold]

      [bold]fedproof watch --rpc http://127.0.0.1:8545 --store runs/x --key watcher.json[/bold]

      [bold]fedproof watch --rpc https://h:8700/rpc --store https://h:8700 --ca ca.crt --once[/bold]

    Exit status: 0; 1 if --once leaves a provable fault unproven; 2 bad options; 5 chain;
    6 if --once finds a store that does not answer; 7 key.
    """
    account = signer(key, password_file, dry_run=dry_run)
    connection = connect(rpc, store, contract, ca, account)

    def report_notice(notice: Notice) -> None:
        if as_json:
            print_json_line(notice.as_json())
        else:
            console.print(str(notice), markup=False, soft_wrap=True)

    options = WatchOptions(lag, interactive, chunks, records, store_patience)
    watcher = Watcher(
        connection.federation,
        connection.referee,
        connection.store,
        account,
        report_notice,
        options,
    )
    if not as_json:
        console.print(_heading(connection, account), soft_wrap=True)
    if once:
        _check_once(watcher)
        return
    _follow(watcher, report_notice, poll, patience)


def _heading(connection: Connection, account: LocalAccount | None) -> str:
    """Return a line with the contract, the watcher's balance and the coordinator's bond."""
    federation = connection.federation
    coordinator = federation.account(federation.terms.coordinator)
    who = "nobody (dry run)"
    if account is not None:
        balance = federation.rpc.quantity("eth_getBalance", account.address, "latest")
        who = f"{account.address}, who has {exact_ether(balance)}"
    return (
        f"watching {federation.address} as {who}; the coordinator's bond is "
        f"{exact_ether(coordinator.bond_wei)}"
    )


def _check_once(watcher: Watcher) -> None:
    while watcher.step():
        continue
    if any(watcher.standing.values()):
        raise typer.Exit(1)
    for error in watcher.unread.values():
        raise error


def _follow(
    watcher: Watcher, report_notice: NoticeHandler, poll_s: float, patience_s: float
) -> None:
    """Check the federation every ``poll_s`` seconds; a failing node ends it only in the long run.

    Raises
    ------
    LedgerError
        If every check failed for ``patience_s``.
    """
    last_success, reported = time.monotonic(), ""
    while True:
        try:
            watcher.step()
            last_success, reported = time.monotonic(), ""
        except LedgerError as error:
            if time.monotonic() - last_success >= patience_s:
                raise
            if str(error) != reported:
                reported = str(error)
                report_notice(Notice("unreachable", 0, reported))
        time.sleep(poll_s)
