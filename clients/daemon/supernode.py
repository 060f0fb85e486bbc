"""The participant's SuperNode: Flower's program that carries messages, kept running beside us.

It gets the coordinator's address, its own node key, and where our socket is; nothing of the
account. It and all it starts die with the daemon.
"""

import logging
import os
import random
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from clients.daemon.deliveries import Deliveries
from clients.daemon.node_session import NodeSession, admitted_node, deactivate_node
from clients.daemon.relay import SOCKET_SETTING
from coordinator.flower.internals import (
    CLIENT_APP_PROGRAM,
    SUPERNODE_DROPPED,
    SUPERNODE_REFUSED,
    SUPERNODE_STARTS,
)
from coordinator.local.children import Children, ChildSpec
from coordinator.local.keyfile import PASSWORD_VARIABLE
from coordinator.local.leftovers import MARK, marked
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.protocol.wire import FLOWER_ENVIRONMENT
from coordinator.settings.participant import ParticipantSettings

NAME: Final = "supernode"
HOST: Final = "127.0.0.1"
POLL_S: Final = "0.5"
"""How often Flower's executor asks for a message to start a process for; by itself, a second."""
_PORTS: Final = range(20_000, 32_768)
"""Below what the kernel hands out by itself, so that nobody is given ours between two starts."""
_STARTS_A_PORT: Final = 4
_STEADY_S: Final = 20.0
_TAIL_BYTES: Final = 8_192
_LIFE_BYTES: Final = 262_144
"""Of the log, to find in it that a SuperNode was let in: before that it writes a line for each
attempt to connect."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_MOST_TEXT: Final = 300
_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 10.0
"""A SuperLink that was not told that a SuperNode died refuses the next until the heartbeat lapses
(60 s): ask again."""


class SuperNodeError(FedproofError):
    """The SuperNode does not stay up; it is started again and again."""


class SuperNode:
    """Keeps ``flower-supernode`` running.

    Parameters
    ----------
    settings, folder
        The participant's; relative paths are relative to ``folder``.
    socket_path
        Where the daemon listens.
    state
        Logs and Flower's own folder lie there.
    mark
        By which leftovers of an earlier life are known.

    Attributes
    ----------
    deliveries
        Whether it passes on the reply to what it was asked last.

    Raises
    ------
    ConfigError
        If TLS or the node's key is missing where the coordinator is not on this machine.
    """

    def __init__(
        self,
        settings: ParticipantSettings,
        folder: Path,
        socket_path: Path,
        state: Path,
        mark: str,
    ) -> None:
        self._options = connection_options(settings, folder)
        self._address = settings.coordinator.superlink
        self._port = settings.node.port
        self._socket = socket_path
        self._state = state
        self._mark = mark
        self._log = state / "logs" / "supernode.log"
        self._fault = ""
        self._starts = 0
        self._read_bytes = 0
        self._admitted: int | None = None  # the process that the SuperLink has let in
        self._session = _session(settings, folder, state)
        self.deliveries = Deliveries(self._log)

    def start(self, children: Children) -> None:
        """Start it, on its own port or any that is free."""
        if self._session is not None:
            self._session.end()  # of a SuperNode of an earlier life that was killed
        home = self._state / "flower"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = self._port or free_port()
        self.deliveries.begin()
        node_config = f"{SOCKET_SETTING}={node_setting(str(self._socket))}"
        children.add(
            ChildSpec(
                name=NAME,
                command=(
                    str(Path(sys.executable).parent / "flower-supernode"),
                    *self._options,
                    *("--host", HOST, "--port", str(port), "--node-config", node_config),
                ),
                environment=child_environment(os.environ, home, self._mark),
                folder=home,
                log=self._log,
                first_pause_s=1.0,
                longest_pause_s=_LONGEST_PAUSE_S,
            )
        )

    def restart(self, children: Children) -> None:
        """End it in good order, so that its node may come back at once, and start it again."""
        children.remove(NAME)
        self.start(children)

    def is_carrying(self) -> bool:
        """Whether Flower runs a program that hands us a message, or is about to.

        It starts one for each message; ours passes it to the daemon (``clients.daemon.shim``).
        """
        return any(CLIENT_APP_PROGRAM in _command(pid) for pid in marked(self._mark))

    def look(self, children: Children) -> float:
        """Look whether it runs, and take another port where it keeps ending: ours may be taken.

        Returns
        -------
        How long it has been running, in seconds; 0 if it does not.

        Raises
        ------
        SuperNodeError
            If it ended lately, or has not been let in by the SuperLink for long; says why, as far
            as it can be known.
        StoreError
            If its session cannot be noted.
        """
        status = children.find(NAME)
        if status is None:
            return 0.0
        self._report_dropped()
        node_id = self._admitted_node(status.pid)
        if self._session is not None:
            self._keep_session(self._session, status.pid, node_id)
        missed = status.returncode == 0 and status.starts > self._starts  # it ended between looks
        self._starts = status.starts
        if missed and status.state == "running":
            self._fault = why_ended(0, "")
        elif status.state == "running" and status.uptime_s >= _STEADY_S:
            self._fault = "" if status.pid == self._admitted else self._never_connected()
        elif status.returncode is not None and status.state != "running":
            self._fault = why_ended(status.returncode, _tail(self._log))
            if status.starts >= _STARTS_A_PORT and not self._port:
                self.restart(children)
        if self._fault:
            raise SuperNodeError(self._fault)
        return status.uptime_s

    def _report_dropped(self) -> None:
        """Log why the SuperNode dropped a message; it tells neither us nor the coordinator."""
        try:
            with self._log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                start = self._read_bytes if self._read_bytes <= end else 0
                file.seek(max(start, end - _LIFE_BYTES))
                lines = file.read().splitlines(keepends=True)
        except OSError:
            return
        partial = len(lines[-1]) if lines and not lines[-1].endswith(b"\n") else 0
        self._read_bytes = end - partial
        for line in lines[:-1] if partial else lines:
            dropped = SUPERNODE_DROPPED.search(_COLOUR.sub("", line.decode(errors="replace")))
            if dropped is not None:
                _log.warning("the SuperNode dropped a message: %s", dropped[0][:_MOST_TEXT])

    def _admitted_node(self, pid: int | None) -> int | None:
        """Return as which node the SuperLink let this process in, where that is news."""
        if pid is None or pid == self._admitted:
            return None
        node_id = admitted_node(_tail(self._log, _LIFE_BYTES), pid)
        if node_id is not None:
            self._admitted = pid
        return node_id

    def _never_connected(self) -> str:
        return (
            f"the SuperNode has not reached the SuperLink at {self._address} "
            f"(coordinator.superlink): it runs, and tries on; its log ends with: "
            f"{_last_line(_tail(self._log))}"
        )

    def _keep_session(self, session: NodeSession, pid: int | None, node_id: int | None) -> None:
        """Note whom the SuperLink has let in; end the session of one that is dead."""
        if pid is None:
            session.end()
        elif node_id is not None:
            session.begins(node_id, pid)
        elif not session.is_held_by(pid):
            session.end()


def node_setting(text: str) -> str:
    """Return a text as a value of Flower's ``--node-config``.

    Flower cuts the option at the next double quote, escaped or not, before it reads the pieces as
    TOML: so quotes, backslashes and what cannot be printed are written as TOML's escapes by number.

    Raises
    ------
    ConfigError
        If the text is a path whose bytes are not UTF-8, which TOML cannot hold.
    """
    if any(0xD800 <= ord(one) < 0xE000 for one in text):
        raise ConfigError(
            f"{text!r}: this path is not UTF-8, expected a folder whose name is; Flower's settings "
            "cannot hold another"
        )
    plain = (
        one if one.isprintable() and one not in '"\\' else f"\\U{ord(one):08x}" for one in text
    )
    return '"' + "".join(plain) + '"'


def _session(settings: ParticipantSettings, folder: Path, state: Path) -> NodeSession | None:
    """Return the session of a node that has a key; without one each SuperNode is another node."""
    reach, key = settings.coordinator, settings.node.key
    if not reach.ca or not key:
        return None
    farewell = deactivate_node(reach.superlink, folder / reach.ca, folder / key)
    return NodeSession(state / "session.json", farewell)


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""


def why_ended(returncode: int, tail: str) -> str:
    """Return in words why a SuperNode ended, from its status and the end of its log.

    It says nothing at all where the SuperLink answers that it does not know the node.
    """
    refusal = tail.rsplit(SUPERNODE_REFUSED, 1)
    if len(refusal) == 2:
        lines = [line.strip() for line in refusal[1].splitlines() if line.strip()]
        said = " ".join(lines[:2])[:300]
        return f"the SuperLink refuses this node (it may take it for alive for 60 s more): {said}"
    if returncode == 0:
        return (
            "the SuperLink does not know this node: its key (node.key) is not, or no longer, in "
            "the coordinator's registry"
        )
    return f"the SuperNode ended with status {returncode}; its log ends with: {_last_line(tail)}"


def _last_line(tail: str) -> str:
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing"


def _tail(log: Path, size_bytes: int = _TAIL_BYTES) -> str:
    """Return what the last life of a child wrote, its end only where that is longer."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return _COLOUR.sub("", text).rsplit(SUPERNODE_STARTS, 1)[-1]


def connection_options(settings: ParticipantSettings, folder: Path) -> list[str]:
    """Return how the SuperNode reaches the SuperLink; raises ``ConfigError`` if not safely."""
    address = settings.coordinator.superlink
    options = ["--superlink", address]
    if not settings.coordinator.ca:
        host = address.rsplit(":", 1)[0]
        if host not in ("127.0.0.1", "localhost", "::1", "[::1]"):
            raise ConfigError(
                f"coordinator.superlink = {address}: coordinator.ca is needed where the "
                "coordinator is not on this machine"
            )
        return [*options, "--insecure"]
    options += ["--root-certificates", _file(folder, settings.coordinator.ca, "coordinator.ca")]
    if not settings.node.key:
        raise ConfigError("node.key is missing: a SuperLink with TLS wants to know its nodes")
    key = _file(folder, settings.node.key, "node.key")
    if Path(key).stat().st_mode & 0o077:
        raise ConfigError(f"node.key = {key}: others can read it, expected mode 0600 (chmod 600)")
    return [*options, "--auth-supernode-private-key", key]


def _file(folder: Path, name: str, setting: str) -> str:
    path = (folder / name).absolute()
    if not path.is_file():
        raise ConfigError(f"{setting} = {path}: no such file")
    return str(path)


def child_environment(own: Mapping[str, str], home: Path, mark: str) -> dict[str, str]:
    """Return the environment of what Flower starts: no password, proxy or telemetry, our programs.

    A proxy is for the web; the SuperLink and this machine's own processes are reached directly, as
    the chain and the store are.
    """
    programs = str(Path(sys.executable).parent)
    kept = {
        name: value
        for name, value in own.items()
        if name != PASSWORD_VARIABLE and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        **FLOWER_ENVIRONMENT,
        "FLWR_HOME": str(home),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL_S,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}{os.pathsep}{own.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        MARK: mark,
    }


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ConfigError(f"no free port on {HOST} from {_PORTS.start} to {_PORTS.stop - 1}")
