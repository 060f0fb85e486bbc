"""Flower under the service: SuperLink and executor as children, and always a run going.

A Flower run ends with its ServerApp, and a ServerApp dies with many things. So the engine looks
every moment: is the SuperLink up, is there a run, is its ServerApp attached and talking? If not,
it stops what is left of the old run and starts the next; the round goes on from the ledger.
"""

import logging
import os
import secrets
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.core.errors import FedproofError
from coordinator.core.wire import FLOWER_ENVIRONMENT
from coordinator.daemon.control import SuperLinkControl, SuperLinkError
from coordinator.daemon.desk import Desk
from coordinator.daemon.nodes import NodeRegistry
from coordinator.daemon.superlink import GuardFile
from coordinator.local.children import Children, ChildSpec
from coordinator.local.leftovers import MARK
from coordinator.local.logs import fields

SOCKET_VARIABLE: Final = "FEDPROOF_SOCKET"
"""Tells the ServerApp where the service listens."""
SUPERLINK: Final = "superlink"
EXECUTOR: Final = "superexec"
_APP: Final = """[project]
name = "fedproof-federation"
version = "1.0.0"
description = "Rounds of a Fedproof federation"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedproof"

[tool.flwr.app.components]
serverapp = "coordinator.daemon.server_app:app"
clientapp = "clients.shim:app"

[tool.flwr.app.config]
token = ""
"""
_TICK_S: Final = 0.25
_ATTACH_S: Final = 90.0
"""A ServerApp that has not attached so long after its run was started never will."""
_SILENCE_S: Final = 60.0
"""One that says nothing for so long, outside a call, is stuck."""
_PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where the SuperLink listens, and with which certificate.

    ``certificate``, ``key`` and ``ca`` are all given or all ``None``: without TLS, on loopback
    only, any node may take part; with it, those in ``registry``.
    """

    host: str
    port: int
    certificate: Path | None
    key: Path | None
    ca: Path | None
    registry: Path
    vector_bytes: int

    @property
    def address(self) -> str:
        """``host:port`` at which it listens."""
        return _address(self.host, self.port)

    @property
    def local_address(self) -> str:
        """``host:port`` at which this host's own processes reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return _address(host, self.port)


class Engine:
    """Keeps Flower going.

    Parameters
    ----------
    folder
        ``state/flower``: its database, its home, our app.
    logs
        Where the children write.
    children, mark
        The service's children, and the mark in their environment.
    desk, socket
        Where the ServerApp reports.
    wanted
        Whether there are rounds to run.
    complain
        Told what is wrong, and with an empty text when it no longer is.
    """

    def __init__(
        self,
        settings: EngineSettings,
        folder: Path,
        logs: Path,
        children: Children,
        mark: str,
        desk: Desk,
        socket_path: Path,
        wanted: Callable[[], bool],
        complain: Callable[[str, str], None],
    ) -> None:
        self._settings, self._folder, self._logs = settings, folder, logs
        self._children, self._mark = children, mark
        self._desk, self._socket = desk, socket_path
        self._wanted, self._complain = wanted, complain
        self._control: SuperLinkControl | None = None
        self._nodes = NodeRegistry(settings.registry)
        self._secret = secrets.token_hex(32)
        self._run_id: int | None = None
        self._run_started = 0.0
        self._attached = False
        self._failures = 0
        self._next_start = 0.0
        self._clean = False
        self._listening = 0
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedproof-engine", daemon=True)

    # --- the service's side ------------------------------------------------------------------

    def start(self) -> None:
        """Start the children and begin to look after them."""
        self._prepare()
        for spec in (self._superlink(), self._executor()):
            self._children.add(spec)
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Stop looking; ending the children is the service's."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        if self._control is not None:
            self._control.close()

    def server_app_left(self) -> None:
        """Look at once: the ServerApp has gone."""
        self._wake.set()

    def sync_nodes(self) -> None:
        """Bring the SuperLink's nodes in line with the registry, where nodes are registered."""
        if self._settings.ca is not None and self._control is not None and self._is_up():
            self._nodes.sync(self._control)

    @property
    def address(self) -> str:
        """``host:port`` at which nodes reach the SuperLink."""
        return self._settings.address

    @property
    def run_id(self) -> int | None:
        """Flower's number of the run going on."""
        return self._run_id

    # --- looking after a run -----------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._look()
            except FedproofError as error:
                self._complain("flower", str(error))
            except Exception as error:
                _log.exception("the engine: a defect")
                self._complain("flower", f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        if not self._is_up():
            self._complain("flower", "the SuperLink is not up")
            return
        control = self._control_of()
        if not self._clean:
            self._stop_runs(control)
            self.sync_nodes()
            self._clean = True
        if self._run_id is not None and (fault := self._fault()):
            level = logging.WARNING if self._wanted() else logging.INFO
            _log.log(level, "the run is over", extra=fields(run=self._run_id, reason=fault))
            self._forget_run(control)
        if self._run_id is None and self._wanted() and time.monotonic() >= self._next_start:
            self._start_run(control)
        elif self._attached:
            self._complain("flower", "")

    def _fault(self) -> str:
        """Return what is wrong with the run, empty if nothing is."""
        lease = self._desk.lease
        if lease is not None:
            if not self._attached:
                self._attached = True
                _log.info(
                    "the ServerApp drives",
                    extra=fields(run=self._run_id, after_s=self._age_s()),
                )
            if self._desk.is_idle and self._desk.silent_s > _SILENCE_S:
                return f"its ServerApp has said nothing for {_SILENCE_S:g} s"
            self._failures = 0
            return ""
        if self._attached:
            return "its ServerApp has ended"
        if time.monotonic() - self._run_started > _ATTACH_S:
            return f"no ServerApp attached within {_ATTACH_S:g} s"
        return ""

    def _age_s(self) -> float:
        return round(time.monotonic() - self._run_started, 1)

    def _forget_run(self, control: SuperLinkControl) -> None:
        run_id, self._run_id = self._run_id, None
        self._desk.new_token()  # whatever is left of it can do nothing from here on
        self._attached = False
        pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        self._failures += 1
        self._next_start = time.monotonic() + pause
        if run_id is not None:
            try:
                control.stop_run(run_id)
            except SuperLinkError as error:
                _log.debug("run %d was not stopped: %s", run_id, error)

    def _start_run(self, control: SuperLinkControl) -> None:
        self._attached = False
        token = self._desk.new_token()
        self._run_id = control.start_run(self._folder / "app", {"token": token})
        self._run_started = time.monotonic()
        _log.info("a Flower run has started", extra=fields(run=self._run_id))

    def _stop_runs(self, control: SuperLinkControl) -> None:
        """End what an earlier life of the service left unfinished in the database."""
        for run_id in control.unfinished_runs():
            control.stop_run(run_id)
            _log.info("stopped a run of an earlier life", extra=fields(run=run_id))

    # --- children ------------------------------------------------------------------------------

    def _is_up(self) -> bool:
        """Whether the SuperLink listens; asked of the network once in each of its lives."""
        child = self._children.find(SUPERLINK)
        if child is None or child.state != "running":
            return False
        if child.starts == self._listening:
            return True
        host, _, port = self._settings.local_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
        except OSError:
            return False
        self._listening = child.starts
        return True

    def _control_of(self) -> SuperLinkControl:
        if self._control is None:
            ca = self._settings.ca
            self._control = SuperLinkControl(
                self._settings.local_address, None if ca is None else ca.read_bytes(), self._secret
            )
        return self._control

    def _prepare(self) -> None:
        for folder in (self._folder, self._folder / "home", self._folder / "app"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "app" / "pyproject.toml").write_text(_APP)
        (self._folder / "app" / "README.md").write_text("Rounds of a Fedproof federation.\n")
        executor_secret = self._folder / "executor.secret"
        executor_secret.unlink(missing_ok=True)
        executor_secret.touch(mode=0o600)
        executor_secret.write_bytes(secrets.token_bytes(32))
        settings = self._settings
        guard = GuardFile(settings.vector_bytes, self._secret, settings.ca is not None)
        guard.write(self._folder / "guard.json")

    def _environment(self) -> dict[str, str]:
        """Return the environment of Flower's processes: nothing of ours that they do not need."""
        scripts = sysconfig.get_path("scripts")
        kept: Mapping[str, str] = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(("LC_", "NUMBA_", "PYTHON"))
        }
        return {
            **kept,
            **FLOWER_ENVIRONMENT,
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "FLWR_HOME": str(self._folder / "home"),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "HOME": str(self._folder / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            SOCKET_VARIABLE: str(self._socket),
            MARK: self._mark,
        }

    def _superlink(self) -> ChildSpec:
        settings = self._settings
        command = [sys.executable, "-m", "coordinator.daemon.superlink"]
        command += [str(self._folder / "guard.json"), "--host", settings.host]
        command += ["--port", str(settings.port), "--isolation", "process"]
        command += ["--database", str(self._folder / "flower.db")]
        command += ["--superexec-auth-secret-file", str(self._folder / "executor.secret")]
        if settings.ca is None:
            command.append("--insecure")
        else:
            command += ["--ssl-certfile", str(settings.certificate)]
            command += ["--ssl-keyfile", str(settings.key)]
            command += ["--ssl-ca-certfile", str(settings.ca), "--enable-supernode-auth"]
        return self._spec(SUPERLINK, command)

    def _executor(self) -> ChildSpec:
        settings = self._settings
        command = [str(Path(sysconfig.get_path("scripts")) / "flower-superexec")]
        command += ["--runtime-api-address", settings.local_address]
        command += ["--superexec-auth-secret-file", str(self._folder / "executor.secret")]
        if settings.ca is None:
            command.append("--insecure")
        else:
            command += ["--root-certificates", str(settings.ca)]
        return self._spec(EXECUTOR, command)

    def _spec(self, name: str, command: list[str]) -> ChildSpec:
        return ChildSpec(
            name, tuple(command), self._environment(), self._folder, self._logs / f"{name}.log"
        )


_INHERITED: Final = frozenset({"LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_DIR"})


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
