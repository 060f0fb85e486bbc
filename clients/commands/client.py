"""``fedproof client``: the participant's daemon."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from coordinator.commands.cli import INTERRUPTED

_STOP_WITHIN_S: Final = 15.0
"""A coordinator that does not answer must not delay the exit; all lasting state is on disk."""


def client(
    config: Annotated[
        Path, typer.Option(help="The participant's settings, as 'fedproof federation init' wrote.")
    ] = Path("participant.toml"),
    once: Annotated[
        bool, typer.Option("--once", help="Exit once a round with this participant is sealed.")
    ] = False,
) -> None:
    """Take part in a federation: train on own data, sign, upload, claim, until stopped.

    Holds the account's key (password from the settings' file, $FEDPROOF_PASSWORD, or a prompt) and
    keeps Flower's SuperNode running. It reconnects after an outage of coordinator or network, and
    resumes after a restart. SIGTERM ends it within 15 seconds. Its status is in state/status.json,
    its log in state/logs, next to the settings.

    Examples:

      [bold]fedproof client --config participant.toml[/bold]

      [bold]fedproof client --config participant.toml --once[/bold]

    Exit status: 0 stopped, or the round is sealed; 2 settings, data, wrong chain or contract; 5
    chain; 6 disk, or already running; 7 key file; 130 interrupted.
    """
    # These import torch, web3 and flwr, which `--help` does not need.
    from clients.daemon.service import ParticipantDaemon
    from clients.daemon.setup import build_app, open_account, read_setup
    from coordinator.local.lock import FolderLock
    from coordinator.local.logs import start_logging, stop_logging
    from coordinator.protocol.types import Address

    setup = read_setup(config)
    with FolderLock(setup.state):
        account = open_account(setup.settings.account, setup.folder)
        start_logging(setup.state / "logs" / "client.jsonl", level=setup.settings.log.level)
        received: list[int] = []
        try:
            application = build_app(setup, Address(account.address))
            daemon = ParticipantDaemon(setup, account, application)

            def end(number: int, _frame: object) -> None:
                received.append(number)
                daemon.stop()
                _exit_in_time(_status(received))

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, end)
            daemon.run(once=once)
        finally:
            stop_logging()
        status = _status(received)
        if daemon.is_training:
            # The participant's own training code runs in a thread and must not delay the exit.
            sys.stdout.flush()
            os._exit(status)
        raise typer.Exit(status)


def _status(received: list[int]) -> int:
    return INTERRUPTED if signal.SIGINT in received else 0


def _exit_in_time(status: int) -> None:
    """End the process after ``_STOP_WITHIN_S`` at the latest; the kernel ends its children."""
    timer = threading.Timer(_STOP_WITHIN_S, os._exit, args=[status])
    timer.daemon = True
    timer.start()
