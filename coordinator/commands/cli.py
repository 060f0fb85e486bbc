"""The command line: commands imported when they run, and exit codes for their errors.

A table lists the commands (``simulations.cli`` for the ``fedproof`` script). A command's module is
imported when the command runs, so that ``fedproof --help`` imports none of them. Not handled: the
commands themselves.
"""

import errno
import importlib
import os
import select
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import click
import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from coordinator import __version__
from coordinator.protocol.errors import FedproofError, StoreError

INTERRUPTED: Final = 130
INTERNAL: Final = 70
DEBUG_VARIABLE: Final = "FEDPROOF_DEBUG"
"""Environment variable that, if set, has the traceback of an internal error printed."""

_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PERMISSION_ERRORS: Final = (errno.EACCES, errno.EPERM)
_STDOUT: Final = 1
_RESUMABLE: Final = ("simulate", "coordinator", "client", "watch")
"""Commands that continue where an earlier call was interrupted."""
_TRANSACTIONS: Final = ("join", "leave", "withdraw", "claim", "fund", "challenge")
"""Commands that send a transaction, which may be mined after an interruption."""
_PACKAGE_ROOT: Final = Path(__file__).parents[2]

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class CommandEntry:
    """One line of a table of commands.

    Attributes
    ----------
    target
        ``"module:name"`` of the command's function, or of a ``typer.Typer`` with commands under it.
    summary
        Its line in the list of commands; the first sentence of the command's own help.
    group
        Its heading in the list of commands.
    """

    target: str
    summary: str
    group: str = "Commands"

    def load(self, name: str) -> click.Command:
        """Import the command.

        Raises
        ------
        ImportError, AttributeError
            If the target does not exist: a defect, not a user's mistake.
        """
        module, _, attribute = self.target.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if not isinstance(loaded, typer.Typer):
            function, loaded = loaded, typer.Typer(add_completion=False, rich_markup_mode="rich")
            loaded.command(name)(function)
        command = typer.main.get_command(loaded)
        command.name = name
        return command


def application(name: str, summary: str, table: Mapping[str, CommandEntry]) -> typer.Typer:
    """Return an application with the commands of a table.

    Parameters
    ----------
    name, summary
        The application's name and first line of help.
    table
        The commands by name, in the order of the help.
    """

    class CommandTable(_LazyGroup):
        entries = table

    app = typer.Typer(
        name=name,
        help=summary,
        cls=CommandTable,
        no_args_is_help=True,
        suggest_commands=False,  # click's own suggestion would be printed a second time
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_own_options)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fedproof {__version__}")
        raise typer.Exit


def _own_options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print the version of Fedproof; 'fedproof version' adds those of its packages.",
        ),
    ] = False,
) -> None:
    """Declare the options of the application itself."""


class _LazyGroup(TyperGroup):
    """A group that imports a command, by its entry in ``entries``, when the command runs."""

    entries: Mapping[str, CommandEntry]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Placeholders for the help and for suggestions on a misspelling.
        self.commands = {
            name: TyperCommand(name, help=entry.summary, rich_help_panel=entry.group)
            for name, entry in self.entries.items()
        }

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported; while help is formatted, only its name and summary."""
        if ctx.meta.get(_LISTING) or cmd_name not in self.entries:
            return super().get_command(ctx, cmd_name)
        return self.entries[cmd_name].load(cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the help without importing a command."""
        ctx.meta[_LISTING] = True
        try:
            super().format_help(ctx, formatter)
        finally:
            del ctx.meta[_LISTING]


_LISTING: Final = "fedproof.listing"


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
        _report_problem(_interrupted(sys.argv[1:]))
        return INTERRUPTED
    except SystemExit as ended:
        # click exits with 1 on any broken pipe; for `verify` that would mean tampering
        if ended.code and isinstance(pipe := ended.__context__, BrokenPipeError):
            return _discard_output() if _is_stdout_closed() else _defect(pipe)
        raise
    except OSError as error:
        return _disk_failure(error) if _is_disk_failure(error) else _defect(error)
    except Exception as error:
        return _defect(error)
    return result if isinstance(result, int) else 0


def _interrupted(arguments: Sequence[str]) -> str:
    """Return the message for an interrupted command, with how to continue if that is possible."""
    command = arguments[0] if arguments else ""
    if command == "hospitals":
        return "interrupted; start again with --fresh"
    if command in _TRANSACTIONS:
        return "interrupted; what was sent may still be mined: check before you send it again"
    if command not in _RESUMABLE:
        return "interrupted"
    without = " without --fresh" if "--fresh" in arguments else ""
    return f"interrupted; the same command{without} continues where it stopped"


def _is_stdout_closed() -> bool:
    """Whether the reader of standard output has closed it (``fedproof ... | head``).

    rich puts the null device in its place before it ends the process.
    """
    if os.fstat(_STDOUT).st_rdev == os.stat(os.devnull).st_rdev:
        return True
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard_output() -> int:
    """Discard the rest of the output: a reader that stops early is not an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return 0


def _is_disk_failure(error: OSError) -> bool:
    """Whether the cause is the machine, not our code: no space, or no permission for a file."""
    return error.errno in _DISK_ERRORS or (
        error.errno in _PERMISSION_ERRORS and error.filename is not None
    )


def _disk_failure(error: OSError) -> int:
    file = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    _report_problem(f"{file}{error.strerror or error}")
    return StoreError.exit_code


def _defect(error: Exception) -> int:
    """Report an internal error in one line; print its traceback if ``DEBUG_VARIABLE`` is set."""
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
        if path.is_relative_to(_PACKAGE_ROOT) and "site-packages" not in path.parts:
            return f" ({path.relative_to(_PACKAGE_ROOT)}, line {frame.lineno})"
    return ""


def _report_problem(message: str) -> None:
    _ERRORS.print("fedproof: error:", style="bold red", end=" ")
    _ERRORS.print(" ".join(message.split()), markup=False)
