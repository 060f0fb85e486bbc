"""A federation as organisations run it: a coordinator and participants, each its own processes.

Everything is as ``fedproof federation init`` makes it (``live_founding``): TLS, registered nodes,
encrypted keys, embedded chain. Tests read the federation's state over HTTPS, as an outsider can.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from federation_bench import Coordinator, Holds
from fedproof_command import fedproof
from live_founding import NAMES, Shape, found_live
from participant_bench import Daemon

from clients.daemon.periodic_tasks import took_part
from clients.daemon.supernode import NAME as SUPERNODE
from contracts.binding.reader import FederationReader
from contracts.binding.rpc import Rpc
from coordinator.daemon.service import ROLE
from coordinator.ledger.reach import Reach, reach
from coordinator.local.leftovers import mark_of, marked
from coordinator.protocol.types import Address, RoundId
from coordinator.settings.coordinator import load_coordinator

_LIVE = ("sealed", "settled", "final")
FULL = os.environ.get("FEDPROOF_FAULTS") == "full"
"""Whether faults are to be tried at full length: ``make faults``."""
PATIENCE_S = 420.0
"""The longest wait for anything: a busy machine takes many times longer than an idle one."""


def live(folder: Path, **shape: Any) -> "Federation":
    """Create a federation; no process is started yet."""
    options = Shape(**shape)
    return Federation(found_live(folder, options), options.names)


class LiveCoordinator(Coordinator):
    """The coordinator's processes, asked over TLS."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tls = ssl.create_default_context(cafile=root / "tls" / "ca.crt")
        self.environment: dict[str, str] = {}

    def start(self, **env: str) -> "LiveCoordinator":
        super().start(**{**self.environment, **env})
        return self

    def until(self, holds: Holds, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        return super().until(holds, timeout_s)

    def get(self, path: str, timeout_s: float = 10.0) -> bytes:
        """Return what a GET answers; raises ``OSError``."""
        with urllib.request.urlopen(self.url + path, timeout=timeout_s, context=self.tls) as answer:
            return bytes(answer.read())

    def status(self) -> dict[str, Any]:
        """Return ``/status``, empty while the service does not answer."""
        try:
            status: dict[str, Any] = json.loads(self.get("/status"))
            return status
        except (OSError, ValueError):
            return {}


class Federation:
    """Coordinator and participants; a context manager that ends all their processes."""

    def __init__(self, root: Path, names: Sequence[str] = NAMES) -> None:
        self.root = root
        self.coordinator = LiveCoordinator(root)
        self.daemons = {name: Daemon(root, name) for name in names}

    def __enter__(self) -> "Federation":
        self.coordinator.start()
        for daemon in self.daemons.values():
            daemon.start()
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons.values():
            daemon.__exit__()
        self.coordinator.__exit__()
        self.sweep()

    def stop(self) -> dict[str, int]:
        """End all daemons with SIGTERM; return the exit statuses."""
        ended = {name: daemon.end() for name, daemon in self.daemons.items()}
        return {**ended, "coordinator": self.coordinator.end()}

    # --- processes -----------------------------------------------------------------------------

    def marks(self) -> list[str]:
        """Return the marks in the environments of this federation's child processes."""
        folders = [daemon.state for daemon in self.daemons.values()]
        return [
            mark_of(self.coordinator.state, ROLE),
            *(mark_of(folder, "participant") for folder in folders),
        ]

    def left_running(self) -> list[int]:
        """Return the child processes of this federation that still run."""
        return [pid for mark in self.marks() for pid in marked(mark)]

    def sweep(self) -> None:
        """Kill the remaining child processes."""
        for pid in self.left_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> dict[str, int]:
        """Return every long-lived process by its role: ``coordinator``, ``superlink``, ..."""
        pids: dict[str, int] = {}
        service = self.coordinator.process
        if service is not None and service.poll() is None:
            pids["coordinator"] = service.pid
        for pid in self.coordinator.children():
            pids.setdefault(_part(pid), pid)
        for name, daemon in self.daemons.items():
            if daemon.process is not None and daemon.process.poll() is None:
                pids[name] = daemon.process.pid
            for pid in marked(mark_of(daemon.state, "participant")):
                pids.setdefault(f"{_part(pid)} of {name}", pid)
        pids.pop("", None)
        return pids

    def process(self, name: str, timeout_s: float = PATIENCE_S) -> int:
        """Return a process by its role; wait until it runs."""
        end = time.monotonic() + timeout_s
        while (pid := self.processes().get(name)) is None:
            assert time.monotonic() < end, f"{name}: {self.processes()}"
            time.sleep(0.1)
        return pid

    def superlink_listens(self) -> bool:
        """Whether the SuperLink takes connections."""
        host, _, port = self.superlink.rpartition(":")
        with socket.socket() as probe:
            probe.settimeout(5.0)
            return probe.connect_ex((host, int(port))) == 0

    @property
    def superlink(self) -> str:
        """``host:port`` of the SuperLink."""
        settings = load_coordinator(self.root / "coordinator.toml").flower
        return f"{settings.host}:{settings.port}"

    # --- reading its state -----------------------------------------------------------------------

    def reach(self) -> Reach:
        """Return chain and store as an outsider reads them over the coordinator's port."""
        url = self.coordinator.url
        return reach(f"{url}/rpc", url, ca_file=self.root / "tls" / "ca.crt")

    def reader(self) -> FederationReader:
        """Return a reader of the contract, over the coordinator's port."""
        reached = self.reach()
        return FederationReader(Rpc(reached.w3.provider), reached.contract)

    def height(self) -> int:
        """Return how many rounds are sealed, -1 while the service does not answer."""
        rounds = (self.coordinator.status().get("chain") or {}).get("rounds")
        return -1 if rounds is None else sum(rounds[name] for name in _LIVE)

    def wait_for_rounds(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many rounds are sealed."""
        end = time.monotonic() + timeout_s
        while self.height() < count:
            assert time.monotonic() < end, f"{self.height()} of {count} rounds\n{self.story()}"
            time.sleep(0.2)

    def wait_until(
        self,
        holds: Callable[[], Any],
        what: str,
        timeout_s: float = PATIENCE_S,
        every_s: float = 0.1,
    ) -> Any:
        """Wait until ``holds`` returns a true value, and return that value."""
        end = time.monotonic() + timeout_s
        while not (value := holds()):
            assert time.monotonic() < end, f"{what}, not within {timeout_s:g} s\n{self.story()}"
            time.sleep(every_s)
        return value

    def wait_for_reply(self, name: str, timeout_s: float = PATIENCE_S) -> tuple[int, Path]:
        """Wait until a participant has signed its next update; return the round and the file.

        The update has not been sent yet when this returns.
        """
        folder = self.daemons[name].state / "replies"
        before = set(folder.glob("*.reply"))
        new = self.wait_until(
            lambda: set(folder.glob("[0-9]*.reply")) - before, f"{name} signs", timeout_s, 0.002
        )
        (path,) = new
        return int(path.name.split("-")[0]), path

    def address(self, name: str) -> str:
        """Return a participant's account."""
        registry = json.loads((self.root / "registry.json").read_bytes())["participants"]
        return next(str(one["address"]) for one in registry if one["name"] == name)

    def contributors(self, round_id: int) -> list[str]:
        """Return the names of the participants whose updates are in a sealed round."""
        reader, store = self.reader(), self.reach().store
        return [
            name
            for name in self.daemons
            if took_part(reader, store, RoundId(round_id), Address(self.address(name)))
        ]

    def verify(self) -> dict[str, Any]:
        """Run ``fedproof verify --rpc --store`` and return its findings; it must pass."""
        url, ca = self.coordinator.url, self.root / "tls" / "ca.crt"
        done = fedproof("verify", "--rpc", f"{url}/rpc", "--store", url, "--ca", ca, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        findings: dict[str, Any] = json.loads(done.stdout)
        return findings

    def story(self) -> str:
        """Return the end of every daemon's output, for an assertion's message."""
        tails = [f"--- coordinator\n{self.coordinator.said()[-3000:]}"]
        tails += [
            f"--- {name}\n{daemon.said()[-1500:]}"
            for name, daemon in self.daemons.items()
            if daemon.output.exists()
        ]
        return "\n".join(tails)


def _part(pid: int) -> str:
    """Return a child's role by its command line; empty for a short-lived one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
    parts = {
        "coordinator.flower.superlink": "superlink",
        "flower-supernode": SUPERNODE,
        "flower-superexec": "superexec",
        "serverapp": "serverapp",
        "flwr-clientapp": "clientapp",
    }
    return next((part for text, part in parts.items() if text in command), "")


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes with SIGSTOP, and continue them at the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
