"""Notes the SuperNode's session with the SuperLink, and ends it if the SuperNode died.

A SuperLink considers a node alive until its heartbeat lapses, up to a minute. Until then it refuses
a restarted SuperNode, and a round waits for an answer that cannot come. The daemon knows that its
SuperNode is dead, and ends the session with the node's key, as a SuperNode that stops normally
does itself.

Only a session from this folder, on this machine, since its last boot, is ended: a copy of the
folder elsewhere must not end the session of a running participant (ADR 94).
"""

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

# isort: split
import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from coordinator.flower.internals import SUPERNODE_ADMITTED, fleet_client
from coordinator.local.files import write_durably
from coordinator.local.logs import fields
from coordinator.protocol.errors import ConfigError

_TIMEOUT_S: Final = 5.0
_AGAIN_S: Final = 10.0
_BUSY: Final = (408, 429, 500, 502, 503, 504)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)

EndSession = Callable[[int], bool]
"""Ends a node's session; returns whether the session is over, even if it was before."""


class NodeSession:
    """The node number of our SuperNodes, and the one that holds the session.

    Parameters
    ----------
    note
        The file in which the session is noted.
    end_session
        Ends a session.
    """

    def __init__(self, note: Path, end_session: EndSession) -> None:
        self._note, self._end_session = note, end_session
        self._where = f"{_boot_id()} {socket.gethostname()} {note.absolute()}"
        self._node = self._noted()
        self._pid: int | None = None
        self._next_at = 0.0

    def is_held_by(self, pid: int) -> bool:
        """Whether the SuperNode with this process id holds the session."""
        return self._node is not None and self._pid == pid

    def begins(self, node_id: int, pid: int) -> None:
        """Note that the SuperLink has admitted our SuperNode.

        Raises
        ------
        StoreError
            If the note cannot be written.
        """
        if self._node != node_id:
            document = {"node": node_id, "where": self._where}
            write_durably(self._note, [json.dumps(document).encode()])
        self._node, self._pid = node_id, pid

    def end(self) -> None:
        """End the session of a dead SuperNode, if one is noted.

        If the SuperLink does not answer, a later call tries again.
        """
        if self._node is None or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _AGAIN_S
        if self._end_session(self._node):
            self._node = self._pid = None
            self._next_at = 0.0
            try:
                self._note.unlink(missing_ok=True)
            except OSError as error:  # ending a session twice is harmless
                _log.warning("%s: cannot be removed: %s", self._note, error.strerror or error)

    def _noted(self) -> int | None:
        """Return the noted node, if the note is of this machine, folder and boot."""
        # A copy of the folder elsewhere must not push out a running node (ADR 94).
        try:
            document = json.loads(self._note.read_bytes())
            return int(document["node"]) if document["where"] == self._where else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # without a note, the heartbeat must lapse first


def deactivate_node(address: str, ca: Path, key: Path) -> EndSession:
    """Return a function that ends a node's session at a SuperLink.

    Parameters
    ----------
    address
        ``host:port``.
    ca, key
        The certificate authority, and the node's private key.

    Raises
    ------
    ConfigError
        If one of the files cannot be used.
    """
    private = _private_key(key)

    def say(node_id: int) -> bool:
        try:
            trusted = ssl.create_default_context(cafile=ca)
            with fleet_client(address, private, trusted, _TIMEOUT_S) as end_session:
                end_session(node_id)
        except httpx.HTTPStatusError as error:
            return error.response.status_code not in _BUSY  # other codes: it was over already
        except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
            _log.info("cannot end the session of a dead SuperNode yet: %s", error)
            return False
        _log.info("ended the session of a dead SuperNode", extra=fields(node=node_id))
        return True

    return say


def admitted_node(log: str, pid: int) -> int | None:
    """Return the node number under which the SuperLink admitted a SuperNode process.

    Parameters
    ----------
    log
        The log of our SuperNodes, the newest process last.
    pid
        Process id of the SuperNode.
    """
    _, begun, its_life = log.rpartition(f"Started server process [{pid}]")
    match = SUPERNODE_ADMITTED.search(its_life) if begun else None
    return None if match is None else int(match[1])


def _private_key(file: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"node.key = {file}: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"node.key = {file}: not a private key in OpenSSH's form") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"node.key = {file}: not a key on an elliptic curve")
    return key


def _boot_id() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
