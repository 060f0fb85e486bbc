"""Keeps the participant's SuperNode running, Flower's program that transports messages.

It gets the coordinator's address, its own node key and the path of our socket, but nothing of the
account. It and all processes that it starts end with the daemon.
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
"""Seconds between the executor's requests for a message; Flower's default is one second."""
_PORTS: Final = range(20_000, 32_768)
"""Below the kernel's ephemeral ports, so that no process is given ours between two starts."""
_STARTS_A_PORT: Final = 4
_STEADY_S: Final = 20.0
_TAIL_BYTES: Final = 8_192
_LIFE_BYTES: Final = 262_144
"""Bytes of the log to search for the line that a SuperNode was admitted: before it, there is a line
for each attempt to connect."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_MOST_TEXT: Final = 300
_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 10.0
"""Longest pause between starts. A SuperLink that does not know that a SuperNode died refuses the
next until the heartbeat lapses (60 s)."""


class SuperNodeError(FedproofError):
    """The SuperNode does not stay up; it is restarted repeatedly."""


class SuperNode:
    """Keeps ``flower-supernode`` running.

    Parameters
    ----------
    settings, folder
        The participant's; relative paths are relative to ``folder``.
    socket_path
        The daemon's socket.
    state
        The folder for logs and Flower's own files.
    mark
        Identifies processes left by an earlier daemon.

    Attributes
    ----------
    deliveries
        Whether it passes on the reply to what it was asked last.

    Raises
    ------
    ConfigError
        If TLS or the node's key is missing and the coordinator is on another machine.
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
        """Start the SuperNode, on its own port or any free one."""
        if self._session is not None:
            self._session.end()  # of a SuperNode that an earlier daemon left, killed since
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
        """Stop the SuperNode normally, so that it may reconnect at once, and start it again."""
        children.remove(NAME)
        self.start(children)

    def is_carrying(self) -> bool:
        """Whether Flower runs, or is about to run, a process that passes a message to us.

        It starts one for each message (``clients.daemon.shim``).
        """
        return any(CLIENT_APP_PROGRAM in _command(pid) for pid in marked(self._mark))

    def look(self, children: Children) -> float:
        """Check that it runs; if it keeps ending, use another port, as ours may be taken.

        Returns
        -------
        Seconds for which it has been running; 0 if it is not.

        Raises
        ------
        SuperNodeError
            If it ended lately, or the SuperLink has not admitted it for long; names the reason if
            it is known.
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
        missed = status.returncode == 0 and status.starts > self._starts  # ended between two checks
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
        """Return the node number of a newly admitted process, ``None`` if it was known before."""
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
        """Note an admitted process's session; end the session of a dead one."""
        if pid is None:
            session.end()
        elif node_id is not None:
            session.begins(node_id, pid)
        elif not session.is_held_by(pid):
            session.end()


def node_setting(text: str) -> str:
    """Return a text as a value of Flower's ``--node-config``.

    Flower splits the option at every double quote, escaped or not, before it parses the pieces as
    TOML. So quotes, backslashes and non-printable characters are written as numeric TOML escapes.

    Raises
    ------
    ConfigError
        If the text is a path whose bytes are not UTF-8, which TOML cannot express.
    """
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ConfigError(
            f"{text!r}: this path is not UTF-8, expected a folder whose name is; Flower's settings "
            "cannot hold another"
        )
    plain = (
        character
        if character.isprintable() and character not in '"\\'
        else f"\\U{ord(character):08x}"
        for character in text
    )
    return '"' + "".join(plain) + '"'


def _session(settings: ParticipantSettings, folder: Path, state: Path) -> NodeSession | None:
    """Return the session of a node with a key; without a key each SuperNode is a new node."""
    reach, key = settings.coordinator, settings.node.key
    if not reach.ca or not key:
        return None
    end_session = deactivate_node(reach.superlink, folder / reach.ca, folder / key)
    return NodeSession(state / "session.json", end_session)


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # it has ended since
        return ""


def why_ended(returncode: int, tail: str) -> str:
    """Return why a SuperNode ended, from its exit status and the end of its log.

    If the SuperLink does not know the node, the log says nothing.
    """
    refusal = tail.rsplit(SUPERNODE_REFUSED, 1)
    if len(refusal) == 2:
        lines = [line.strip() for line in refusal[1].splitlines() if line.strip()]
        excerpt = " ".join(lines[:2])[:300]
        return (
            f"the SuperLink refuses this node (it may take it for alive for 60 s more): {excerpt}"
        )
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
    """Return the log of a child's last process, only its end if that is longer."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return _COLOUR.sub("", text).rsplit(SUPERNODE_STARTS, 1)[-1]


def connection_options(settings: ParticipantSettings, folder: Path) -> list[str]:
    """Return the SuperNode's connection options; raises ``ConfigError`` for an unsafe one."""
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
    """Return the environment for Flower's processes: no password, proxy or telemetry, our programs.

    Without a proxy, since the SuperLink and this machine's own processes are reached directly, as
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
    """Return a loopback port that no process listens on now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ConfigError(f"no free port on {HOST} from {_PORTS.start} to {_PORTS.stop - 1}")
