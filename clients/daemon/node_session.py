"""The SuperNode's session with the SuperLink: noted while it lasts, ended for one that died.

A SuperLink takes a node for alive until its heartbeat lapses, up to a minute. So long it lets no
successor in, and a round waits for an answer that cannot come. Whoever kept the SuperNode running
knows that it is dead, and says so with the node's key, as one that ends in good order does itself.

Only a session that was held from this folder, on this machine, since it was started, is ended: a
copy of the folder elsewhere must not push out a participant that lives.
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

Farewell = Callable[[int], bool]
"""Ends a node's session; returns whether it is over, whoever ended it."""


class NodeSession:
    """Which node our SuperNodes are, and which of them holds its session.

    Parameters
    ----------
    note
        A file that outlives us.
    farewell
        Ends a session.
    """

    def __init__(self, note: Path, farewell: Farewell) -> None:
        self._note, self._farewell = note, farewell
        self._where = f"{_boot_id()} {socket.gethostname()} {note.absolute()}"
        self._node = self._noted()
        self._pid: int | None = None
        self._next_at = 0.0

    def is_held_by(self, pid: int) -> bool:
        """Whether this SuperNode is known to hold it."""
        return self._node is not None and self._pid == pid

    def begins(self, node_id: int, pid: int) -> None:
        """Note that the SuperLink has let in a SuperNode of ours.

        Raises
        ------
        StoreError
            If the note cannot be written.
        """
        if self._node != node_id:
            told = {"node": node_id, "where": self._where}
            write_durably(self._note, [json.dumps(told).encode()])
        self._node, self._pid = node_id, pid

    def end(self) -> None:
        """End the session of a SuperNode that is dead, if one is known; else do nothing.

        If the SuperLink does not answer, it is tried again at a later call.
        """
        if self._node is None or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _AGAIN_S
        if self._farewell(self._node):
            self._node = self._pid = None
            self._next_at = 0.0
            try:
                self._note.unlink(missing_ok=True)
            except OSError as error:  # to end it twice does no harm
                _log.warning("%s: cannot be removed: %s", self._note, error.strerror or error)

    def _noted(self) -> int | None:
        """Return the node of the note, if it is of this machine, folder and start."""
        try:
            told = json.loads(self._note.read_bytes())
            return int(told["node"]) if told["where"] == self._where else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # without a note, the SuperLink's own patience has to do


def deactivate_node(address: str, ca: Path, key: Path) -> Farewell:
    """Return what ends a node's session at a SuperLink.

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
            return error.response.status_code not in _BUSY  # else it was over already
        except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
            _log.info("cannot end the session of a dead SuperNode yet: %s", error)
            return False
        _log.info("ended the session of a dead SuperNode", extra=fields(node=node_id))
        return True

    return say


def admitted_node(log: str, pid: int) -> int | None:
    """Return as which node the SuperLink let in the SuperNode with this process id.

    Parameters
    ----------
    log
        What SuperNodes wrote, the last one's life at the end.
    """
    _, begun, its_life = log.rpartition(f"Started server process [{pid}]")
    found = SUPERNODE_ADMITTED.search(its_life) if begun else None
    return None if found is None else int(found[1])


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
