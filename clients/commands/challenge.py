"""``fedproof challenge``: challenge one round by hand, with the watcher's messages."""

from collections.abc import Sequence
from typing import Annotated

import typer

from clients.commands.connection import (
    AsJson,
    Ca,
    Contract,
    DryRun,
    Key,
    PasswordFile,
    Rpc,
    Store,
    connect,
    signer,
)
from coordinator.audit.watch.findings import Notice
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.commands.output import console, print_json_line
from coordinator.protocol.disputes import DisputedRound, Fault, FaultKind, find_faults
from coordinator.protocol.disputes.faults import wrong_parameters
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import RoundId


def challenge(
    round_number: Annotated[
        int, typer.Argument(metavar="ROUND", min=1, help="The round's number.")
    ],
    rpc: Rpc,
    store: Store,
    chunk: Annotated[
        int | None, typer.Option(min=0, help="Check only this chunk of the new model.")
    ] = None,
    key: Key = None,
    password_file: PasswordFile = None,
    contract: Contract = None,
    ca: Ca = None,
    dry_run: DryRun = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Ask for the column even where one proof suffices."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Challenge the faults of one round, or only those of one chunk of its new model.

    Prints each fault, the cost of proving it and the bounty, before it sends a transaction. If the
    coordinator must answer a question first, fedproof watch with the same key continues the case.

    Examples:

      [bold]fedproof challenge 3 --rpc http://127.0.0.1:8545 --store runs/x --dry-run[/bold]

      [bold]fedproof challenge 3 --chunk 0 --rpc URL --store runs/x --key watcher.json[/bold]

    Exit status: 0 challenged, or no fault; 1 a fault is left unproven; 2 bad options; 5 chain;
    7 key.
    """
    account = signer(key, password_file, dry_run=dry_run)
    connection = connect(rpc, store, contract, ca, account)
    federation, artifacts = connection.federation, connection.store
    round_id = RoundId(round_number)
    status = federation.status(round_id)
    if not status.is_disputable:
        raise ConfigError(
            f"round {round_id} is {status.word}: only a sealed round can be challenged"
        )

    def report_notice(notice: Notice) -> None:
        if as_json:
            print_json_line(notice.as_json())
        else:
            console.print(str(notice), markup=False, soft_wrap=True)

    round_ = RoundReader(federation, artifacts).read(round_id)
    faults = find_faults(round_) if chunk is None else faults_in_chunk(round_, chunk)
    if not faults:
        place = f"chunk {chunk}: " if chunk is not None else ""
        report_notice(Notice("examined", round_number, f"{place}nothing wrong, nothing is sent"))
        return
    for fault in faults:
        report_notice(Notice("found", round_number, str(fault)))
    options = WatchOptions(interactive=interactive)
    watcher = Watcher(federation, connection.referee, artifacts, account, report_notice, options)
    if not watcher.challenge(round_id, faults):
        raise typer.Exit(1)


def faults_in_chunk(round_: DisputedRound, chunk: int) -> Sequence[Fault]:
    """Return the fault of one chunk of the new model, if there is one.

    Raises
    ------
    ConfigError
        If there is no such chunk, or an artifact needed to check it is not published.
    """
    try:
        size, count = round_.known_rule.chunk_values, round_.layout.chunk_count
        if chunk >= count:
            raise ConfigError(f"--chunk {chunk}: the model has {count} chunks, 0 to {count - 1}")
        wrong = [int(p) for p in wrong_parameters(round_) if p // size == chunk]
    except ValueError as missing:
        raise ConfigError(f"--chunk {chunk}: {missing}; challenge without --chunk") from missing
    if not wrong:
        return []
    detail = f"parameter {wrong[0]}, one of {len(wrong)} in chunk {chunk} that do not follow"
    return [Fault(FaultKind.AGGREGATE, detail, wrong[0], len(wrong))]
