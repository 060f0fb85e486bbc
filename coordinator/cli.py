"""The command line: one typer application, one boundary where errors become exit codes.

The coordinator's own commands live in ``coordinator.commands``. Packages above this one
(``clients``, ``simulations``) add theirs to ``app``; the ``fedproof`` script starts
``simulations.cli``, which sees all of them, so imports keep pointing one way.
"""

import os
import sys
from typing import NoReturn

import click
import typer
from rich.console import Console

from coordinator.core.errors import FedproofError

app = typer.Typer(
    name="fedproof",
    help="Federated learning that anyone can verify: train, commit, pay, audit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
chain_app = typer.Typer(help="The embedded chain: serve it, look at it.", no_args_is_help=True)
app.add_typer(chain_app, name="chain")

INTERRUPTED = 130
INTERNAL = 70

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def run(application: typer.Typer) -> NoReturn:
    """Run the application and end the process with a documented status.

    0 success; 1 verification failed; 2 usage or configuration; 3 a contributor's input; 4 the
    rule cannot be applied; 5 chain; 6 artifact store; 7 key file; 70 a defect of ours; 130
    interrupted (``docs/exit-codes.md``).
    """
    sys.exit(_status(application))


def _status(application: typer.Typer) -> int:
    try:
        result = application(standalone_mode=False)
    except FedproofError as error:
        _complain(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted; the same command with --resume goes on where it stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`fedproof ... | head`): not an error of anybody's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    _ERRORS.print("fedproof: error:", style="bold red", end=" ")
    _ERRORS.print(" ".join(message.split()), markup=False)
