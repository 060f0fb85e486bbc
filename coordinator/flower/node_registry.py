"""Keeps the SuperLink's list of nodes as the registry file has it: who is not in it is shut out."""

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
    """What is needed of ``SuperLinkControl``."""

    def nodes(self) -> dict[bytes, int]:
        """Return the registered nodes: number by public key (PEM)."""

    def register_node(self, public_key: bytes, name: str) -> int:
        """Register a node by its public key (PEM); return its number."""

    def unregister_node(self, node_id: int) -> None:
        """Take a node out."""


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
            If the file is missing or malformed. Nobody is shut out by a mistake in it: what was
            read last stays in force.
        """
        stamp = self._stamp()
        if stamp != self._seen:
            self._keys = keys_of(read_registry(self._path), str(self._path))
            self._seen = stamp
        return self._keys

    def sync(self, directory: NodeDirectory) -> None:
        """Register who is new in the file, and take out who is no longer in it.

        Raises
        ------
        ConfigError
            As :meth:`keys`.
        SuperLinkError
            If the SuperLink does not answer; the rest is done the next time. If it refuses one
            node, after all the others: nobody is kept out by somebody else's key.
        """
        with self._lock:  # two at once would both register who is missing
            self._sync(directory)

    def _sync(self, directory: NodeDirectory) -> None:
        wanted, found = self.keys(), directory.nodes()
        refused: list[FedproofError] = []
        for key, node_id in found.items():
            if key not in wanted:
                with _going_on(refused):
                    directory.unregister_node(node_id)
                    _log.info("a node was taken out", extra=fields(node=node_id))
        for key, name in wanted.items():
            if key not in found:
                with _going_on(refused):
                    node_id = directory.register_node(key, name)
                    _log.info("a node was admitted", extra=fields(node=node_id, participant=name))
        if refused:
            raise refused[0]

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _going_on(refused: list[FedproofError]) -> Iterator[None]:
    """Keep a refusal for later; where the SuperLink does not answer, the others can wait too."""
    try:
        yield
    except FedproofError as error:
        if not getattr(error, "answered", False):
            raise
        refused.append(error)


def keys_of(registry: Registry, source: str) -> dict[bytes, str]:
    """Return the keys of a registry as Flower has them (PEM), with their participants' names.

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
