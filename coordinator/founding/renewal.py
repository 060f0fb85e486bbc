"""Renews the server's certificate, or the authority that all participants trust.

A new server certificate needs no action by participants. A new authority is for a stolen server
key, whose certificate would be accepted until it expires. Every participant then needs the new
``ca.crt``, and cannot connect before it has it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from coordinator.founding.certificates import (
    SERVER_DAYS,
    KeyAndCertificate,
    end_of,
    make_authority,
    make_server,
    names_of,
    with_local,
)
from coordinator.founding.folder import (
    PUBLIC_MODE,
    SECRET_MODE,
    FederationFolder,
    require_folder,
)
from coordinator.local.files import write_durably
from coordinator.protocol.errors import ConfigError
from coordinator.settings.agreement import read_agreement


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewed certificate; ``authority`` is set if participants need a new ``ca.crt``."""

    path: Path
    names: tuple[str, ...]
    ends: datetime
    authority: Path | None = None


def renew(root: Path, names: list[str], days: int = SERVER_DAYS) -> Renewed:
    """Replace the server's certificate by a new one for the same key.

    Parameters
    ----------
    names
        Host names and addresses, to which those of the machine itself are added; empty keeps those
        of the old certificate.

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
    kept = with_local(names) if names else names_of(_read(folder.server))
    made = make_server(authority, kept, days=days, key=_read(folder.server_key))
    write_durably(folder.server, [made.certificate], mode=PUBLIC_MODE)
    return Renewed(folder.server, tuple(kept), end_of(made.certificate))


def renew_authority(root: Path, names: list[str], days: int = SERVER_DAYS) -> Renewed:
    """Make a new authority, and a new key and certificate for the server under it.

    If it is interrupted between two files, calling it again makes all of them anew.

    Parameters
    ----------
    names
        Host names and addresses, to which those of the machine itself are added; empty keeps those
        of the old certificate.

    Raises
    ------
    ConfigError
        If the federation runs without TLS, or a file is missing or malformed.
    StoreError
        If the disk refuses.
    """
    folder = require_folder(root.absolute())
    kept = with_local(names) if names else names_of(_read(folder.server))
    authority = make_authority(read_agreement(folder.agreement).name)
    made = make_server(authority, kept, days=days)
    for path, data, mode in _files(folder, authority, made):
        write_durably(path, [data], mode=mode)
    return Renewed(folder.server, tuple(kept), end_of(made.certificate), folder.authority)


def _files(
    folder: FederationFolder, authority: KeyAndCertificate, server: KeyAndCertificate
) -> list[tuple[Path, bytes, int]]:
    return [
        (folder.authority_key, authority.key, SECRET_MODE),
        (folder.authority, authority.certificate, PUBLIC_MODE),
        (folder.server_key, server.key, SECRET_MODE),
        (folder.server, server.certificate, PUBLIC_MODE),
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
