"""Runs the real ``fedproof`` command in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "simulations"]

TINY = """
name = "tiny"
seed = 3
rounds = 4

[data]
kind = "digits"
max_train = 240

[partition]
kind = "iid"
clients = 5

[model]
kind = "logistic"

[training]
epochs = 1
batch_size = 12
learning_rate = 0.5

[cohort]
min_contributors = 2

[scoring]
kind = "leave_one_out"
evaluation_examples = 60

[chain]
challenge_window_s = 5
"""


def environment() -> dict[str, str]:
    """Return an environment in which the project is importable and output is plain."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", "NO_COLOR": "1"}


def fedproof(
    *arguments: str | Path, timeout: float = 240, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return it with its output."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def write_tiny(folder: Path, extra: str = "", *, sealed: bool = False) -> Path:
    """Write the smallest experiment that still uses everything."""
    path = folder / "tiny.toml"
    text = TINY.replace("[cohort]\n", "[cohort]\nsealed = true\n") if sealed else TINY
    path.write_text(text + extra)
    return path
