"""Output is the same in a pipe, a narrow and a wide terminal."""

import io
import shlex
from pathlib import Path

import pytest
from rich.table import Table

from coordinator.commands.output import Output, shell

LONG = "a " * 200 + "end"


@pytest.mark.parametrize(("terminal", "width"), [(False, 80), (True, 40), (True, 400)])
def test_lines_are_not_broken_and_tables_not_cut(terminal: bool, width: int) -> None:
    text = io.StringIO()
    console = Output(
        file=text, force_terminal=terminal, width=width, soft_wrap=True, color_system=None
    )
    table = Table("name", "address", box=None, pad_edge=False)
    table.add_row("alice", "0x" + "ab" * 60)
    console.print(LONG)
    console.print(table)
    line, _heading, row = text.getvalue().splitlines()
    assert line == LONG
    assert row.split() == ["alice", "0x" + "ab" * 60]


def test_a_path_in_a_command_can_be_copied() -> None:
    path = Path("my runs/it's")
    assert shlex.split(f"fedproof verify {shell(path)}")[2:] == [str(path)]
    assert shell(Path("runs/quickstart")) == "runs/quickstart"
