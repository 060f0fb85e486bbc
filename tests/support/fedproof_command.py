"""Runs the real ``fedproof`` command in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from warm_command import WarmProcess

Process = subprocess.Popen[bytes] | WarmProcess
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
    *arguments: str | Path,
    timeout: float = 240,
    cwd: Path | None = None,
    stdin: str = "",
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return it with its output.

    With ``fresh`` it runs in a new interpreter, as from a shell; otherwise it is forked from a
    process that has imported everything already, which saves seconds.
    """
    command = [*map(str, arguments)]
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as errors,
    ):
        given.write(stdin)
        given.seek(0)
        stdio = (given.fileno(), out.fileno(), errors.fileno())
        process: Process
        if fresh:
            process = subprocess.Popen(
                [*COMMAND, *command],
                env=environment(),
                cwd=cwd,
                stdin=given,
                stdout=out,
                stderr=errors,
            )
        else:
            process = WarmProcess(command, environment(), cwd, stdio, session=False)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            raise
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            ["fedproof", *command], status, out.read(), errors.read()
        )


def start(*arguments: str | Path) -> WarmProcess:
    """Start a command in a process group of its own."""
    with open(os.devnull, "r+b") as nowhere:
        stdio = (nowhere.fileno(),) * 3
        return WarmProcess([*map(str, arguments)], environment(), None, stdio, session=True)


def start_service(
    *arguments: str | Path,
    output: Path,
    cwd: Path | None = None,
    env: Mapping[str, str],
    wrapper: Sequence[str] = (),
) -> Process:
    """Start a command that keeps running, in a new session; both its outputs go to a file.

    With ``env``, or inside another command (``wrapper``, as ``strace``), it is a new interpreter:
    preloaded libraries and readers of ``/proc/PID/environ`` need the environment at its start.
    """
    command = [*map(str, arguments)]
    with output.open("ab") as file, open(os.devnull, "rb") as nothing:
        stdio = (nothing.fileno(), file.fileno(), file.fileno())
        if not env and not wrapper:
            return WarmProcess(command, environment(), cwd, stdio, session=True)
        return subprocess.Popen(
            [*wrapper, *COMMAND, *command],
            cwd=cwd,
            env={**environment(), **env},
            stdin=nothing,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def kill_group(process: Process) -> None:
    """Kill the remaining processes of a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def write_tiny(folder: Path, extra: str = "", *, sealed: bool = False) -> Path:
    """Write a minimal experiment that uses every part of a run."""
    path = folder / "tiny.toml"
    text = TINY.replace("[cohort]\n", "[cohort]\nsealed = true\n") if sealed else TINY
    path.write_text(text + extra)
    return path
