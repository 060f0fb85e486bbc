"""A coordinator that is asked to end does, also where it has not come up yet."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STUCK = """
import threading
from pathlib import Path
from types import SimpleNamespace

from coordinator.commands import coordinator as command
from coordinator.daemon import plan, service


def deploys_for_ever(plan, asked):
    print("deploying", flush=True)
    while True:
        threading.Event().wait(1.0)


command._STOP_WITHIN_S = 0.2
settings = SimpleNamespace(log=SimpleNamespace(level="info"))
plan.ServicePlan.read = lambda config: SimpleNamespace(state=Path("state"), settings=settings)
service.CoordinatorService = deploys_for_ever
command.coordinator(Path("coordinator.toml"))
"""


LOADING = """
import sys
from types import ModuleType

from simulations import __main__ as script


class Loading(ModuleType):
    def __getattr__(self, name):
        print("loading", flush=True)
        while True:
            __import__("time").sleep(1)


sys.modules["simulations.cli"] = Loading("simulations.cli")
sys.argv = ["fedproof", sys.argv[1]]
script.main()
"""


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        ("coordinator", signal.SIGTERM, 0),
        ("client", signal.SIGTERM, 0),
        ("client", signal.SIGINT, 130),
        ("verify", signal.SIGTERM, -15),
        ("verify", signal.SIGINT, 130),
    ],
)
def test_a_signal_while_a_command_is_being_loaded_ends_it_quietly(command, number, status):
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        assert process.wait(60) == status
    finally:
        process.kill()
        _, said = process.communicate()
    assert said == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_while_it_waits_for_its_deployment(tmp_path: Path, number: int):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "deploying\n"
        process.send_signal(number)
        assert process.wait(60) == 70
    finally:
        process.kill()
        process.communicate()
