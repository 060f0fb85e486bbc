"""``fedproof watch``: follow a federation, replay every round, convict over fraud."""

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
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    lag: Annotated[
        int, typer.Option(min=0, help="Look at a round only when so many stand on it.")
    ] = 0,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Ask for columns where one proof would do.")
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
            help="Seconds of chain time a store may not answer before that counts as withholding; "
            "at most, and by default, a quarter of the challenge window.",
        ),
    ] = None,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 2.0,
    patience: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for a node that gives no answer.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Follow a federation: replay every sealed round, and prove fraud to its referee.

    Says what it found, what proving it costs and what it earns, before it sends anything. All it
    knows is on chain and in the store, so it can be killed and started again at any time.

    Examples:

      [bold]fedproof watch --rpc http://127.0.0.1:8545 --store runs/quickstart --dry-run[/bold]

      [bold]fedproof watch --rpc http://127.0.0.1:8545 --store runs/x --key watcher.json[/bold]

      [bold]fedproof watch --rpc https://h:8700/rpc --store https://h:8700 --ca ca.crt --once[/bold]

    Exit status: 0; 1 if --once leaves a provable fault standing; 2 bad options; 5 chain;
    6 if --once finds a store that does not answer; 7 key.
    """
    account = signer(key, password_file, dry_run=dry_run)
    at = connect(rpc, store, contract, ca, account)

    def report_notice(notice: Notice) -> None:
        if as_json:
            print_json_line(notice.as_json())
        else:
            console.print(str(notice), markup=False, soft_wrap=True)

    options = WatchOptions(lag, interactive, chunks, records, store_patience)
    watcher = Watcher(at.federation, at.referee, at.store, account, report_notice, options)
    if not as_json:
        console.print(_introduction(at, account), soft_wrap=True)
    if once:
        _look_once(watcher)
        return
    _follow(watcher, report_notice, poll, patience)


def _introduction(at: Connection, account: LocalAccount | None) -> str:
    """Return who watches whom, and what both have at stake."""
    coordinator = at.federation.account(at.federation.terms.coordinator)
    who = "nobody (dry run)"
    if account is not None:
        balance = at.federation.rpc.quantity("eth_getBalance", account.address, "latest")
        who = f"{account.address}, who has {exact_ether(balance)}"
    return (
        f"watching {at.federation.address} as {who}; the coordinator's bond is "
        f"{exact_ether(coordinator.bond_wei)}"
    )


def _look_once(watcher: Watcher) -> None:
    while watcher.step():
        continue
    if any(watcher.standing.values()):
        raise typer.Exit(1)
    for away in watcher.unread.values():
        raise away


def _follow(
    watcher: Watcher, report_notice: NoticeHandler, poll_s: float, patience_s: float
) -> None:
    """Look again and again, whatever the node says; end where it says nothing else.

    Raises
    ------
    LedgerError
        If for ``patience_s`` no look came to its end.
    """
    last_look, told = time.monotonic(), ""
    while True:
        try:
            watcher.step()
            last_look, told = time.monotonic(), ""
        except LedgerError as failed:
            if time.monotonic() - last_look >= patience_s:
                raise
            if str(failed) != told:
                told = str(failed)
                report_notice(Notice("unreachable", 0, told))
        time.sleep(poll_s)
