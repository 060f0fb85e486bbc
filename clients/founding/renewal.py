"""Renewing the server's certificate; participants need nothing new, they trust the authority."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clients.founding.certificates import (
    SERVER_DAYS,
    KeyAndCertificate,
    end_of,
    make_server,
    names_of,
)
from clients.founding.folder import PUBLIC_MODE, replace_file, require_folder
from coordinator.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Renewed:
    """A certificate that replaced another."""

    path: Path
    names: tuple[str, ...]
    ends: datetime


def renew(root: Path, names: list[str], days: int = SERVER_DAYS) -> Renewed:
    """Make a new certificate for the server's key and put it in the old one's place.

    Parameters
    ----------
    names
        Host names and addresses; empty keeps those of the old certificate.

    Raises
    ------
    ConfigError
        If the federation runs without TLS, a file is missing or malformed, or the authority has
        expired.
    StoreError
        If the disk refuses.
    """
    folder = require_folder(root.absolute())
    authority = KeyAndCertificate(_read(folder.authority_key), _read(folder.authority))
    kept = names or names_of(_read(folder.server))
    made = make_server(authority, kept, days=days, key=_read(folder.server_key))
    replace_file(folder.server, made.certificate, PUBLIC_MODE)
    return Renewed(folder.server, tuple(kept), end_of(made.certificate))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
