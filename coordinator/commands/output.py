"""How commands speak: people get rich text, scripts get one JSON object."""

import json
import os
import sys
from typing import Any

from rich.console import Console


class Output(Console):
    """Standard output; a reader that has gone (``... | head``) is no error."""

    def on_broken_pipe(self) -> None:
        """End quietly."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


console = Output(highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object and nothing else on standard output."""
    print(json.dumps(value, indent=2, sort_keys=True))


def print_json_line(value: Any) -> None:
    """Print one JSON object on a line of its own, at once: for commands that go on."""
    print(json.dumps(value, sort_keys=True), flush=True)


def short(digest: str) -> str:
    """Return the first 12 hex digits of a digest, for tables."""
    return digest[:12]
