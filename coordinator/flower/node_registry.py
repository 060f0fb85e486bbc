"""Keeps the SuperLink's list of nodes equal to the registry file; other nodes are refused."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from coordinator.local.logs import fields
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.settings.registry import Registry, read_registry

_log = logging.getLogger("fedproof.coordinator")


class NodeDirectory(Protocol):
    """The part of ``SuperLinkControl`` that the registry uses."""

    def nodes(self) -> dict[bytes, int]:
        """Return the registered nodes: number by public key (PEM)."""

    def register_node(self, public_key: bytes, name: str) -> int:
        """Register a node by its public key (PEM); return its number."""

    def unregister_node(self, node_id: int) -> None:
        """Remove a node."""


class NodeRegistry:
    """Follows one registry file.

    Parameters
    ----------
    path
        ``registry.json``; read again when it has changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[bytes, str] = {}

    def keys(self) -> Mapping[bytes, str]:
        """Return the admitted nodes: name by public key (PEM).

        Raises
        ------
        ConfigError
            If the file is missing or malformed. The nodes read last stay admitted then, so that a
            mistake in the file shuts nobody out.
        """
        stamp = self._stamp()
        if stamp != self._seen:
            self._keys = keys_of(read_registry(self._path), str(self._path))
            self._seen = stamp
        return self._keys

    def sync(self, directory: NodeDirectory) -> None:
        """Register the nodes that are new in the file, and remove those no longer in it.

        Raises
        ------
        ConfigError
            As :meth:`keys`.
        SuperLinkError
            If the SuperLink does not answer; the next call does the rest. If it refuses one node:
            raised after all the others were handled.
        """
        with self._lock:  # two threads would both register the missing nodes
            self._sync(directory)

    def _sync(self, directory: NodeDirectory) -> None:
        admitted, registered = self.keys(), directory.nodes()
        refused: list[FedproofError] = []
        for key, node_id in registered.items():
            if key not in admitted:
                with _going_on(refused):
                    directory.unregister_node(node_id)
                    _log.info("a node was taken out", extra=fields(node=node_id))
        for key, name in admitted.items():
            if key not in registered:
                with _going_on(refused):
                    node_id = directory.register_node(key, name)
                    _log.info("a node was admitted", extra=fields(node=node_id, participant=name))
        if refused:
            raise refused[0]

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror or error}") from error
        return status.st_mtime_ns, status.st_size, status.st_ino


@contextlib.contextmanager
def _going_on(refused: list[FedproofError]) -> Iterator[None]:
    """Collect a refusal for later; an error without an answer is raised at once."""
    try:
        yield
    except FedproofError as error:
        if not getattr(error, "answered", False):
            raise
        refused.append(error)


def keys_of(registry: Registry, source: str) -> dict[bytes, str]:
    """Return a registry's keys in Flower's format (PEM), with their participants' names.

    Raises
    ------
    ConfigError
        If a key cannot be read; names the participant.
    """
    keys: dict[bytes, str] = {}
    for participant in registry.participants:
        if not participant.node_key:
            continue
        try:
            key = load_ssh_public_key(participant.node_key.encode("ascii"))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{source}: node_key of {participant.name!r}: not an OpenSSH public key: {error}"
            ) from error
        keys[key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)] = participant.name
    return keys
