"""The command line: one typer application, one boundary where errors become exit codes.

The coordinator's own commands live in ``coordinator.commands``. Packages above this one
(``clients``, ``simulations``) add theirs to ``app``; the ``fedproof`` script starts
``simulations.cli``, which sees all of them, so imports keep pointing one way.
"""

import errno
import os
import select
import sys
import traceback
from pathlib import Path
from typing import Final, NoReturn

import click
import typer
from rich.console import Console

from coordinator.protocol.errors import FedproofError, StoreError

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

INTERRUPTED: Final = 130
INTERNAL: Final = 70
DEBUG_VARIABLE: Final = "FEDPROOF_DEBUG"
"""Set to anything, it shows where a defect of ours came from."""

_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_REFUSED: Final = (errno.EACCES, errno.EPERM)
_OUTPUT: Final = 1
_HOME: Final = Path(__file__).parents[2]

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
        _report_problem(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _report_problem("interrupted; the same command with --resume goes on where it stopped")
        return INTERRUPTED
    except SystemExit as ended:
        # click ends with 1 on any broken pipe; for `verify` that would mean tampering
        if ended.code and isinstance(pipe := ended.__context__, BrokenPipeError):
            return _reader_gone() if _nobody_reads() else _defect(pipe)
        raise
    except OSError as error:
        return _disk_refused(error) if _is_the_disks(error) else _defect(error)
    except Exception as error:
        return _defect(error)
    return result if isinstance(result, int) else 0


def _nobody_reads() -> bool:
    """Whether the reader of standard output has gone (``fedproof ... | head``)."""
    poll = select.poll()
    poll.register(_OUTPUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _reader_gone() -> int:
    """Drop what was left to print: that nobody wants it is no error of anybody's."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _OUTPUT)
    return 0


def _is_the_disks(error: OSError) -> bool:
    """Whether the machine's owner can mend it: no room, or no permission for a file."""
    return error.errno in _DISK or (error.errno in _REFUSED and error.filename is not None)


def _disk_refused(error: OSError) -> int:
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    _report_problem(f"{where}{error.strerror or error}")
    return StoreError.exit_code


def _defect(error: Exception) -> int:
    """Say in one line what went wrong and where; all of it only to whoever asks."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    _report_problem(
        f"internal error: {type(error).__name__}: {error}{_place(error)}; please report it "
        f"({DEBUG_VARIABLE}=1 shows where it came from)"
    )
    return INTERNAL


def _place(error: Exception) -> str:
    """Return the innermost line of our own code that an error passed through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_HOME) and "site-packages" not in path.parts:
            return f" ({path.relative_to(_HOME)}, line {frame.lineno})"
    return ""


def _report_problem(message: str) -> None:
    _ERRORS.print("fedproof: error:", style="bold red", end=" ")
    _ERRORS.print(" ".join(message.split()), markup=False)
