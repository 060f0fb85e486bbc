"""Flower's deployment engine on loopback; every process is ended with the test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """Return the environment of all flwr processes, with a free port for their SuperLink."""
    home.mkdir()
    port = free_port()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "loop"\n\n[superlink.loop]\n'
        f'address = "{HOST}:{port}"\ninsecure = true\n'
    )
    return {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support"))),
        "TEST_SUPERLINK_PORT": str(port),
    }


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a command in a new session, and end the whole session afterwards."""
    with log.open("w") as output:
        started = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(started.pid, number)
                    started.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            started.wait(10)


@contextmanager
def superlink(folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run a SuperLink; returns once it listens."""
    port, log = env["TEST_SUPERLINK_PORT"], folder / "superlink.log"
    with process(
        ["flower-superlink", "--insecure", "--host", HOST, "--port", port], env, log
    ) as link:
        end = time.monotonic() + 120
        while not _listens(int(port)):
            assert link.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.1)
        yield


@contextmanager
def supernode(folder: Path, env: dict[str, str], number: int, config: dict) -> Iterator[None]:
    """Run a SuperNode with a node configuration."""
    settings = " ".join(
        f"{name}={str(value).lower()}" if isinstance(value, int) else f'{name}="{value}"'
        for name, value in config.items()
    )
    link = f"{HOST}:{env['TEST_SUPERLINK_PORT']}"
    command = ["flower-supernode", "--insecure", "--superlink", link, "--host", HOST]
    command += ["--port", str(free_port()), "--node-config", settings]
    with process(command, env, folder / f"node{number}.log"):
        yield


def flwr_run(app: Path, env: dict[str, str], folder: Path, run_config: str = "") -> str:
    """Run an app to its end; return what it printed."""
    command = [str(BIN / "flwr"), "run", str(app), "loop", "--stream"]
    command += ["--run-config", run_config] if run_config else []
    done = subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=540, check=False
    )
    printed = done.stdout + done.stderr
    logs = "".join(f.read_text()[-4000:] for f in sorted(folder.glob("*.log")))
    assert done.returncode == 0, printed + logs
    return printed


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
