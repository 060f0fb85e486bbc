"""The unit files are ones, start commands that exist, and the image is built from names alone."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from simulations.cli import COMMANDS

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(path)
    return parser


def command_of(words: list[str]) -> click.Command:
    return COMMANDS[words[0]].load(words[0])


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_of_ours_and_ends_it_in_time(path: Path) -> None:
    service = unit(path)["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/fedproof/bin/fedproof"
    command = command_of(words)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 20  # the daemons promise 20 s
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "7"}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_confined(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["User"] == "fedproof"
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    assert service["ProtectHome"] == "yes"
    assert service["UMask"] == "0077"
    assert service["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_UNIX"]
    assert service["StateDirectoryMode"] == "0700"
    # numba and torch write machine code: forbidding that would stop the first round
    assert "MemoryDenyWriteExecute" not in service


def test_systemd_understands_the_units() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    done = subprocess.run(
        [tool, "verify", "--man=no", *UNITS], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if line.strip()]
    if told and "Failed to" in told[0] and "fedproof" not in told[0]:
        pytest.skip(f"systemd-analyze cannot work here: {told[0]}")
    unknown = [line for line in told if "is not executable" not in line]
    assert unknown == []


def test_the_image_is_built_from_short_names_with_pip_only() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["python:3.11", "python:3.11-slim"]
    assert not re.search(r"https?://|apt|curl|wget|\bgit\b", text)
    assert "USER fedproof" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (DEPLOY.parent / name).exists(), name
    for name in ("fedproof.py", "coordinator", "clients", "contracts", "simulations"):
        assert re.search(rf"^COPY .*\b{name} /source/", text, re.MULTILINE), name
