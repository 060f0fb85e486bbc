"""The folder of a federation: its files, and how they are written.

====================  ===========================================================================
``federation.toml``   a copy of the founding file
``federation.json``   the agreement, public
``coordinator.toml``  the service's configuration
``keys/``             accounts of coordinator and treasury, and their passwords
``tls/``              the federation's own authority, and the server's certificate
``nodes/``            public keys of the participants' SuperNodes
``registry.json``     the participants; the running service reads it again when it changes
``participants/``     a folder for each participant, to be copied to its machine
``state/``            the service's own: chain, artifacts, rounds, logs
====================  ===========================================================================

Secret files have mode 0600, in folders of mode 0700. Every file is flushed to disk before the
folder is renamed to its final name (ADR 121).
"""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.local.files import create_file, sync_folder, unwritable
from coordinator.protocol.errors import ConfigError, StoreError

SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
FOLDER_MODE: Final = 0o700
_PASSWORD_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class FederationFolder:
    """Paths below a federation's folder."""

    root: Path

    @property
    def agreement(self) -> Path:
        """The public agreement."""
        return self.root / "federation.json"

    @property
    def settings(self) -> Path:
        """The service's configuration."""
        return self.root / "coordinator.toml"

    @property
    def founding(self) -> Path:
        """A copy of the founding file."""
        return self.root / "federation.toml"

    @property
    def coordinator_key(self) -> Path:
        """The key file of the coordinator's account."""
        return self.root / "keys" / "coordinator.json"

    @property
    def coordinator_password(self) -> Path:
        """Its password."""
        return self.root / "keys" / "coordinator.password"

    @property
    def treasury_key(self) -> Path:
        """The key file of the account that pays later participants; embedded chain only."""
        return self.root / "keys" / "treasury.json"

    @property
    def treasury_password(self) -> Path:
        """Its password."""
        return self.root / "keys" / "treasury.password"

    @property
    def authority_key(self) -> Path:
        """The authority's key: needed only to renew the server's certificate."""
        return self.root / "tls" / "ca.key"

    @property
    def authority(self) -> Path:
        """The authority's certificate, which participants trust."""
        return self.root / "tls" / "ca.crt"

    @property
    def server_key(self) -> Path:
        """The server's key."""
        return self.root / "tls" / "server.key"

    @property
    def server(self) -> Path:
        """The server's certificate."""
        return self.root / "tls" / "server.crt"

    @property
    def registry(self) -> Path:
        """The registry of participants."""
        return self.root / "registry.json"

    @property
    def state(self) -> Path:
        """The service's own folder."""
        return self.root / "state"

    @property
    def chain(self) -> Path:
        """The embedded chain."""
        return self.state / "chain" / "chain.sqlite"

    @property
    def blobs(self) -> Path:
        """The artifact store."""
        return self.state / "blobs"

    @property
    def deployment(self) -> Path:
        """The arguments of the contract's deployment."""
        return self.state / "deployment.json"

    def node_key(self, name: str) -> Path:
        """Return the public key file of a participant's SuperNode."""
        return self.root / "nodes" / f"{name}.pub"

    def participant(self, name: str) -> Path:
        """Return a participant's folder."""
        return self.root / "participants" / name


def require_folder(root: Path) -> FederationFolder:
    """Return an existing federation's folder.

    Raises
    ------
    ConfigError
        If there is no federation in the folder.
    """
    folder = FederationFolder(root)
    if not folder.registry.is_file():
        raise ConfigError(
            f"{root}: no federation's folder ({folder.registry.name} is missing); expected what "
            "'fedproof federation init' wrote"
        )
    return folder


def new_password() -> str:
    """Return a random password of 192 bits."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with exactly this mode; folders are made as needed.

    Raises
    ------
    StoreError
        If the file exists, or cannot be written.
    """
    try:
        _make_folders(path.parent)
        create_file(path, [data], mode=mode)
    except OSError as error:
        raise unwritable(path, error) from error


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents, all with our mode: ``mkdir`` sets it for the last one only."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def staging_for(target: Path) -> Path:
    """Return an empty folder beside ``target``, mode 0700, to be renamed to it when complete.

    Renamed, because half a federation does harm (ADR 121). The folder of an interrupted attempt is
    removed: nothing outside depends on its keys.

    Raises
    ------
    ConfigError
        If ``target`` exists and is not an empty folder.
    StoreError
        If the folder cannot be made.
    """
    staging = target.with_name(f".{target.name}.unfinished")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target}: exists already; nothing is ever overwritten")
        target.parent.mkdir(parents=True, exist_ok=True)
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir(mode=FOLDER_MODE)
    except OSError as error:
        raise StoreError(f"cannot make {staging}: {error.strerror or error}") from error
    return staging


def publish_folder(staging: Path, target: Path) -> None:
    """Rename a complete folder to its final name, durably.

    Raises
    ------
    StoreError
        If ``target`` was created meanwhile, or the disk fails.
    """
    try:
        for folder, _, _ in os.walk(staging):
            sync_folder(Path(folder))
        os.rename(staging, target)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"cannot make {target}: {error.strerror or error}") from error
