"""The table of commands: every line leads to a command, and none is imported before it is used."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from typer.testing import CliRunner

from coordinator import __version__
from coordinator.commands.cli import CommandEntry, application
from simulations.cli import COMMANDS, app

HEAVY = ("torch", "flwr", "web3", "eth", "numba", "matplotlib", "starlette")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_leads_to_a_command_whose_help_begins_with_the_summary(name: str) -> None:
    command = COMMANDS[name].load(name)
    assert command.name == name
    assert command.help is not None
    assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name].summary


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from simulations.cli import app\n"
        "done = CliRunner().invoke(app, ['--help'])\n"
        "assert done.exit_code == 0, done.output\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "simulations.cli" in loaded
    assert not loaded & set(HEAVY)
    assert not loaded & {entry.target.partition(":")[0] for entry in COMMANDS.values()}


def test_help_lists_every_command_in_the_order_of_the_table() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    starts = [line.strip("│ ").partition(" ")[0] for line in shown.splitlines()]
    assert [start for start in starts if start in COMMANDS] == list(COMMANDS)


def test_help_has_groups_and_begins_with_what_a_newcomer_needs() -> None:
    assert list(COMMANDS)[:2] == ["simulate", "verify"]
    groups = list(dict.fromkeys(entry.group for entry in COMMANDS.values()))
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.index(f"─ {group} ─") for group in groups]
    assert places == sorted(places)
    of_groups = [entry.group for entry in COMMANDS.values()]
    assert of_groups == sorted(of_groups, key=groups.index)


def test_the_version_is_an_option_as_well() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"fedproof {__version__}\n")


@pytest.mark.parametrize(
    ("words", "place", "expected"),
    [("fedproof ver", 1, {"verify", "version"}), ("fedproof simulate --wo", 2, {"--workers"})],
)
def test_a_shell_can_complete(words: str, place: int, expected: set[str]) -> None:
    asked = {
        "_FEDPROOF_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(place),
    }
    script = Path(sys.executable).with_name("fedproof")
    done = subprocess.run(
        [script], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == expected


def test_a_misspelt_command_is_refused_with_what_it_resembles() -> None:
    done = CliRunner().invoke(app, ["simulat"])
    assert done.exit_code == 2
    assert done.output.count("Did you mean 'simulate'?") == 1


def test_a_line_that_names_nothing_is_a_defect() -> None:
    table = {"lost": CommandEntry("simulations.cli:lost", "Lead nowhere.")}
    done = CliRunner().invoke(application("x", "X.", table), ["lost"])
    assert isinstance(done.exception, AttributeError)
    assert isinstance(COMMANDS["verify"].load("verify"), click.Command)


def test_help_into_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m simulations --help | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_argument(name: str) -> None:
    command = COMMANDS[name].load(name)
    commands = getattr(command, "commands", {name: command}).values()
    arguments = [p for one in commands for p in one.params if isinstance(p, click.Argument)]
    assert all(getattr(argument, "help", None) for argument in arguments)
