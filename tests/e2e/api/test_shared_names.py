"""An application whose packages are named like ours works, wherever it is started."""

import subprocess
import sys
from pathlib import Path

import pytest
from fedproof_command import TINY, environment, fedproof

NET = "class Net:\n    layers = 3\n"
INIT = "from .net import Net\n\nTASK = 'digits'\n"


@pytest.fixture
def application(tmp_path: Path) -> Path:
    for name in ("clients", "simulations", "coordinator"):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(INIT)
        (package / "net.py").write_text(NET)
        (package / "deep").mkdir()
        (package / "deep" / "__init__.py").write_text("DEPTH = 2\n")
    return tmp_path


def said(script: str, folder: Path) -> str:
    path = folder / "app.py"
    path.write_text(script)
    command = [sys.executable, str(path)]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OURS = "import fedproof\nprint(fedproof.VerifiableUpdates.__module__, fedproof.load_experiment)\n"
THEIRS = (
    "from clients import TASK, Net\nimport clients.net, simulations.deep\n"
    "from simulations import net\nassert clients.net.Net is Net\n"
    "print(TASK, Net.layers, net.Net.layers, simulations.deep.DEPTH)\n"
)


@pytest.mark.parametrize("script", [OURS + THEIRS, THEIRS + OURS], ids=["ours first", "theirs"])
def test_both_are_found_in_either_order(application: Path, script: str) -> None:
    lines = said(script, application)
    assert "digits 3 3 2" in lines
    assert "clients.mod.verifiable_updates" in lines


def test_what_neither_has_is_missing_as_ever(application: Path) -> None:
    script = """
import fedproof
for attempt in ("import clients.absent", "from clients import Absent", "import clients.net.more"):
    try:
        exec(attempt)
    except ImportError as error:
        print(type(error).__name__, error)
"""
    lines = said(script, application).splitlines()
    assert lines[0] == "ModuleNotFoundError No module named 'clients.absent'"
    assert lines[1].startswith("ImportError cannot import name 'Absent' from 'clients'")
    assert lines[2].startswith("ModuleNotFoundError No module named 'clients.net.more'")


def test_a_module_of_the_same_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "clients.py").write_text("")
    script = (
        "import clients\ntry:\n    import fedproof\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert "expected another name, or a package (a folder)" in said(script, tmp_path)


def test_workers_and_commands_find_ours(application: Path) -> None:
    (application / "tiny.toml").write_text(TINY.replace("rounds = 4", "rounds = 1"))
    script = """
import fedproof
from clients import Net

if __name__ == "__main__":
    run = fedproof.simulate("tiny.toml", "run", workers=2)
    print(run.rounds[0].status, Net.layers)
"""
    assert said(script, application) == "final 3\n"
    done = fedproof("verify", application / "run", cwd=application)
    assert done.returncode == 0, done.stderr
