"""Starts Flower's processes at the coordinator, and checks that they are up.

Two child processes: the SuperLink behind our guard, and the executor that starts a ServerApp for
each run. They get no key, no password, and only the environment variables that they need (ADR 90).
"""

import logging
import os
import secrets
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.flower.guard import GuardFile
from coordinator.local.children import Children, ChildSpec
from coordinator.local.leftovers import MARK
from coordinator.local.logs import fields
from coordinator.protocol.errors import StoreError
from coordinator.protocol.wire import FLOWER_ENVIRONMENT

SOCKET_VARIABLE: Final = "FEDPROOF_SOCKET"
"""Environment variable with the path of the service's socket, for the ServerApp."""
SUPERLINK: Final = "superlink"
EXECUTOR: Final = "superexec"
POLL_S: Final = "0.5"
"""Seconds between the executor's requests for work, which also delay a run's start. Ten requests a
second kept the SuperLink busy for four seconds of every idle minute."""
_APP: Final = """[project]
name = "fedproof-federation"
version = "1.0.0"
description = "Rounds of a Fedproof federation"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedproof"

[tool.flwr.app.components]
serverapp = "coordinator.flower.server_app:app"
clientapp = "clients.daemon.shim:app"

[tool.flwr.app.config]
fedproof-token = ""
"""
_INHERITED: Final = frozenset({"LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
_INHERITED_PREFIXES: Final = ("LC_", "NUMBA_", "PYTHON")
_DATABASE_LIVES: Final = 6
"""Starts without ever listening after which the SuperLink's database counts as unusable."""
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
    def files(self) -> list[Path]:
        """The files of its TLS configuration; empty without TLS."""
        return [f for f in (self.certificate, self.key, self.ca) if f is not None]

    @property
    def certificates(self) -> list[Path]:
        """The certificates among these files, which expire; empty without TLS."""
        return [f for f in (self.certificate, self.ca) if f is not None]

    @property
    def address(self) -> str:
        """``host:port`` at which it listens."""
        return _address(self.host, self.port)

    @property
    def local_address(self) -> str:
        """``host:port`` at which processes on this host reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return _address(host, self.port)


class FlowerProcesses:
    """SuperLink and executor, run as child processes of the service.

    Parameters
    ----------
    folder
        ``state/flower``: the database, Flower's home, our app.
    logs
        The folder of their log files.
    mark
        Set in their environment, to find them after a crash.
    socket_path
        The service's socket, to which the ServerApp connects.
    """

    def __init__(
        self,
        settings: EngineSettings,
        folder: Path,
        logs: Path,
        children: Children,
        mark: str,
        socket_path: Path,
    ) -> None:
        self.settings = settings
        self.app = folder / "app"
        self.secret = secrets.token_hex(32)
        self._folder, self._logs = folder, logs
        self._children, self._mark, self._socket = children, mark, socket_path
        self._listening = 0
        self._given_up = 0

    @property
    def order_file(self) -> Path:
        """Where the guard says which nodes are out of step."""
        return self._folder / "order.json"

    def start(self) -> None:
        """Write the files that the processes read, and start them.

        Raises
        ------
        StoreError
            If the files cannot be written.
        """
        try:
            self._write()
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror or error}") from error
        for spec in (self._superlink(), self._executor()):
            self._children.add(spec)

    def restart(self, name: str, why: str) -> None:
        """Kill one of the processes; it is started again at once."""
        _log.warning("restarting a child", extra=fields(child=name, reason=why))
        self._children.restart(name)

    def is_up(self) -> bool:
        """Whether the SuperLink listens; tested over the network once per process."""
        child = self._children.find(SUPERLINK)
        if child is None or child.state != "running":
            return False
        if child.starts == self._listening:
            return True
        host, _, port = self.settings.local_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
        except OSError:
            self._doubt_database(child.starts)
            return False
        self._listening = self._given_up = child.starts
        return True

    def _doubt_database(self, starts: int) -> None:
        """Rename the database if no SuperLink starts with it: its contents can be rebuilt.

        Nodes are registered again from the registry, and rounds continue from the ledger.
        """
        if starts - self._given_up < _DATABASE_LIVES:
            return
        self._given_up = starts
        for path in self._folder.glob("flower.db*"):
            if ".aside" not in path.name:
                path.replace(path.with_name(f"{path.name}.aside"))
        _log.error("the SuperLink does not come up: its database was put aside")

    def _write(self) -> None:
        for folder in (self._folder, self._folder / "home", self.app):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.app / "pyproject.toml").write_text(_APP)
        (self.app / "README.md").write_text("Rounds of a Fedproof federation.\n")
        executor_secret = self._folder / "executor.secret"
        executor_secret.unlink(missing_ok=True)
        executor_secret.touch(mode=0o600)
        executor_secret.write_bytes(secrets.token_bytes(32))
        settings = self.settings
        guard = GuardFile(
            settings.vector_bytes, self.secret, settings.ca is not None, str(self.order_file)
        )
        guard.write(self._folder / "guard.json")

    def _environment(self) -> dict[str, str]:
        kept: Mapping[str, str] = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        home = str(self._folder / "home")
        return {
            **kept,
            **FLOWER_ENVIRONMENT,
            "PATH": f"{_scripts()}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "FLWR_HOME": home,
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL_S,
            "HOME": home,
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            SOCKET_VARIABLE: str(self._socket),
            MARK: self._mark,
        }

    def _superlink(self) -> ChildSpec:
        settings = self.settings
        command = [sys.executable, "-P", "-m", "coordinator.flower.superlink"]
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
        settings = self.settings
        command = [str(_scripts() / "flower-superexec")]
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


def _scripts() -> Path:
    return Path(sysconfig.get_path("scripts"))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
