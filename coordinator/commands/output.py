"""How commands speak: people get rich text, scripts get one JSON object."""

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

    Lines are not broken and tables not cut: a terminal wraps them where it must, and what reads a
    pipe gets a line a row. A reader that has gone (``... | head``) is no error.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, tables at their own width."""
        super().print(*(_Whole(o) if isinstance(o, Table) else o for o in objects), **options)

    def on_broken_pipe(self) -> None:
        """End quietly."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


@dataclass(frozen=True)
class _Whole:
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
    """Print one JSON object on a line of its own, at once: for commands that go on."""
    print(json.dumps(value, sort_keys=True), flush=True)


def shell(path: Path) -> str:
    """Return a path as an argument of a command that is shown to be copied."""
    return shlex.quote(str(path))


def verify_command(folder: Path, extensions: Sequence[str] = ()) -> str:
    """Return the command that verifies a folder, to be copied.

    Parameters
    ----------
    extensions
        The rule and the score from outside the package, ``module:NAME`` each: whoever verifies
        names a copy of his own.
    """
    own = "".join(f" --extension {name}" for name in extensions)
    return f"fedproof verify {shell(folder)}{own}"


def short(digest: str) -> str:
    """Return the first 12 hex digits of a digest, for tables."""
    return digest[:12]
