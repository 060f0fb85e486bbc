"""The command line: commands loaded by name when used, one place where errors get exit codes.

Which commands there are stands in a table (``simulations.cli`` for the ``fedproof`` script): a
command's module is imported when the command runs, so that ``fedproof --help`` imports none of
them. Not handled: what the commands do.
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
"""Set to anything, it shows where a defect of ours came from."""

_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_REFUSED: Final = (errno.EACCES, errno.EPERM)
_OUTPUT: Final = 1
_RESUMABLE: Final = ("simulate", "coordinator", "client", "watch")
_TRANSACTIONS: Final = ("join", "leave", "withdraw", "claim", "fund", "challenge")
"""Commands that find what they did before; the others have nothing to go on with."""
_HOME: Final = Path(__file__).parents[2]

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class CommandEntry:
    """One line of a table of commands.

    Attributes
    ----------
    target
        ``"module:name"`` of the command's function, or of a ``typer.Typer`` with commands under it.
    summary
        What the list of commands says; the first sentence of the command's own help.
    group
        The heading that help lists it under.
    """

    target: str
    summary: str
    group: str = "Commands"

    def load(self, name: str) -> click.Command:
        """Import the command.

        Raises
        ------
        ImportError, AttributeError
            If the table names what does not exist: a defect, not a user's mistake.
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
    """Return the application whose commands a table names.

    Parameters
    ----------
    name, summary
        Of the application, as its help shows them.
    table
        The commands by name, in the order in which help lists them.
    """

    class CommandTable(_LoadedWhenUsed):
        entries = table

    app = typer.Typer(
        name=name,
        help=summary,
        cls=CommandTable,
        no_args_is_help=True,
        suggest_commands=False,  # click suggests as well
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
            help="Print the version of Fedproof; 'fedproof version' adds what it stands on.",
        ),
    ] = False,
) -> None:
    """Take the options of the application itself."""


class _LoadedWhenUsed(TyperGroup):
    """A group whose commands are imported by their entry in ``entries`` when they run."""

    entries: Mapping[str, CommandEntry]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # What help lists and misspellings are compared with; replaced by the command when it runs.
        self.commands = {
            name: TyperCommand(name, help=entry.summary, rich_help_panel=entry.group)
            for name, entry in self.entries.items()
        }

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported; while help is written, only its name and summary."""
        if ctx.meta.get(_LISTING) or cmd_name not in self.entries:
            return super().get_command(ctx, cmd_name)
        return self.entries[cmd_name].load(cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help without importing a command."""
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
        # click ends with 1 on any broken pipe; for `verify` that would mean tampering
        if ended.code and isinstance(pipe := ended.__context__, BrokenPipeError):
            return _reader_gone() if _nobody_reads() else _defect(pipe)
        raise
    except OSError as error:
        return _disk_refused(error) if _is_the_disks(error) else _defect(error)
    except Exception as error:
        return _defect(error)
    return result if isinstance(result, int) else 0


def _interrupted(arguments: Sequence[str]) -> str:
    """Say that a command was interrupted, and how to go on where it can be gone on with."""
    command = arguments[0] if arguments else ""
    if command == "hospitals":
        return "interrupted; start again with --fresh"
    if command in _TRANSACTIONS:
        return "interrupted; what was sent may still be mined: look before you send it again"
    if command not in _RESUMABLE:
        return "interrupted"
    without = " without --fresh" if "--fresh" in arguments else ""
    return f"interrupted; the same command{without} goes on where it stopped"


def _nobody_reads() -> bool:
    """Whether the reader of standard output has gone (``fedproof ... | head``).

    rich puts the null device in its place before it ends the process.
    """
    if os.fstat(_OUTPUT).st_rdev == os.stat(os.devnull).st_rdev:
        return True
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
