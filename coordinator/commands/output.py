"""Output of commands: formatted text for people, one JSON object for scripts."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

_WIDEST: Final = 10_000


class Output(Console):
    """Standard output, the same in a pipe, a narrow and a wide terminal.

    Lines are not broken and tables not cut: a terminal wraps them where it must, and a pipe gets
    one line per row. A reader that stops early (``... | head``) is not an error.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, tables at their own width."""
        shown = (_UncutTable(item) if isinstance(item, Table) else item for item in objects)
        super().print(*shown, **options)

    def on_broken_pipe(self) -> None:
        """Exit with status 0."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


@dataclass(frozen=True)
class _UncutTable:
    """A table at the width that its cells need, whatever the width of the terminal."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.update(max_width=_WIDEST, no_wrap=False, overflow="fold")
        width = Measurement.get(console, wide, self.table).maximum
        yield from console.render(self.table, wide.update(width=width))


console = Output(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON object and nothing else on standard output."""
    print(json.dumps(value, indent=2, sort_keys=True))


def print_json_line(value: Any) -> None:
    """Print one JSON object on its own line and flush it, for commands that keep running."""
    print(json.dumps(value, sort_keys=True), flush=True)


def shell(path: Path) -> str:
    """Return a path quoted for a shell, for commands that are printed to be copied."""
    return shlex.quote(str(path))


def verify_command(folder: Path, extensions: Sequence[str] = ()) -> str:
    """Return the command that verifies a folder, to be copied.

    Parameters
    ----------
    extensions
        The rule and the score from outside the package, ``module:NAME`` each; a verifier loads
        its own copy.
    """
    flags = "".join(f" --extension {name}" for name in extensions)
    return f"fedproof verify {shell(folder)}{flags}"


def short(digest: str) -> str:
    """Return the first 12 hex digits of a digest, for tables."""
    return digest[:12]
