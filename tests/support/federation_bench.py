"""A whole federation of real processes: the coordinator's service, and participants.

Participants are real daemons, several of them in one process (``python federation_bench.py``), so
that a federation fits on a small machine; their application is small and needs no torch.
"""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedproof_command import Process, environment, kill_group, start_service

from coordinator.daemon.service import ROLE
from coordinator.daemon.status import service_file
from coordinator.local.leftovers import mark_of, marked

Holds = Callable[[dict[str, Any]], Any]


def found_federation(
    folder: Path,
    names: Sequence[str],
    *,
    rounds: int = 0,
    duration_s: int = 120,
    sealed: bool = False,
    tls: bool = False,
    settings: str = "",
) -> Path:
    """Create a federation whose participants run the small application; return its folder."""
    import participant_bench

    text = participant_bench.FEDERATION
    participant_bench.FEDERATION = text.replace("tls = false", f"tls = {str(tls).lower()}")
    try:
        out = participant_bench.found_bench(
            folder, list(names), sealed=sealed, duration_s=duration_s
        )
    finally:
        participant_bench.FEDERATION = text
    toml = out / "coordinator.toml"
    changed = re.sub(r"^rounds = \d+", f"rounds = {rounds}", toml.read_text(), flags=re.M)
    toml.write_text(changed.replace("[round]", f"[round]\npresence_s = 0.5\n{settings}", 1))
    for name in names:
        toml = out / "participants" / name / "participant.toml"
        toml.write_text(_with_app(toml.read_text()))
    return out


def _with_app(text: str) -> str:
    """Name the small application instead of the built-in trainer and its data."""
    without = re.sub(r"^\[data\]\n(?:[^\[].*\n|\n)*", "", text, flags=re.M)
    return re.sub(r"^(?:# *)?app = .*$", "", without, flags=re.M).replace(
        "\n[account]", '\napp = "participant_apps:app"\n\n[account]', 1
    )


class Coordinator:
    """One ``fedproof coordinator`` process at a time, over one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, root / "state"
        self.output = root / "coordinator.txt"
        self.process: Process | None = None
        self.wrapper: list[str] = []
        self.starts = 0

    def start(self, **env: str) -> "Coordinator":
        service_file(self.state).unlink(missing_ok=True)
        config = self.root / "coordinator.toml"
        command = ["coordinator", "--config", config]
        self.process = start_service(*command, output=self.output, env=env, wrapper=self.wrapper)
        self.starts += 1
        return self

    def __enter__(self) -> "Coordinator":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_group(self.process)
        for pid in self.children():
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """``kill -9`` of the service only: its children must end by themselves."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        assert self.process is not None
        os.kill(self.process.pid, number)
        return self.process.wait(timeout_s)

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def children(self) -> list[int]:
        """Return the processes with the service's mark in their environment."""
        return list(marked(mark_of(self.state, ROLE)))

    def child(self, part: str) -> int:
        """Return the one child whose command line contains ``part``; wait until there is one."""
        end = time.monotonic() + 60
        while True:
            pids = [pid for pid in self.children() if part in _command(pid)]
            if len(pids) == 1:
                return pids[0]
            assert time.monotonic() < end, f"{part}: {pids}\n{self.said()}"
            time.sleep(0.1)

    @property
    def url(self) -> str:
        return str(json.loads(service_file(self.state).read_bytes())["http"])

    def status(self) -> dict[str, Any]:
        """Return ``/status``, empty while the service does not answer."""
        authority = self.root / "tls" / "ca.crt"
        context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
        try:
            url = f"{self.url}/status"
            with urllib.request.urlopen(url, timeout=10, context=context) as answer:
                status: dict[str, Any] = json.loads(answer.read())
                return status
        except (OSError, ValueError):
            return {}

    def until(self, holds: Holds, timeout_s: float = 180) -> dict[str, Any]:
        """Wait until ``holds`` is true of its status."""
        end = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if status and holds(status):
                return status
            assert self.process is not None
            assert self.process.poll() is None, f"ended {self.process.returncode}: {self.said()}"
            assert time.monotonic() < end, f"{status}\n{self.said()}"
            time.sleep(0.1)

    def events(self) -> list[dict[str, Any]]:
        """Return the entries of the structured log, of every process so far."""
        log = self.state / "logs" / "coordinator.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()]


@contextmanager
def participants(root: Path, names: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemons of these participants in one process."""
    with (root / "participants.txt").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, str(root), *names],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            kill_group(process)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _take_part(root: Path, names: Sequence[str]) -> None:
    from clients.daemon.service import ParticipantDaemon
    from clients.daemon.setup import build_app, open_account, read_setup
    from coordinator.local.logs import start_logging
    from coordinator.protocol.types import Address

    start_logging(root / "participants.jsonl")
    daemons = []
    for name in names:
        setup = read_setup(root / "participants" / name / "participant.toml")
        account = open_account(setup.settings.account, setup.folder)
        daemons.append(
            ParticipantDaemon(setup, account, build_app(setup, Address(account.address)))
        )
    threads = [threading.Thread(target=daemon.run, daemon=True) for daemon in daemons]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for thread in threads:
        thread.start()
    stop.wait()
    for daemon in daemons:
        daemon.stop()
    for thread in threads:
        thread.join(20)


if __name__ == "__main__":
    _take_part(Path(sys.argv[1]), sys.argv[2:])
