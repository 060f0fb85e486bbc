"""Makes a participant's folder, with all that it needs to take part, and nothing else.

The coordinator knows the keys that it makes for a participant. A participant that wants to keep its
keys to itself gives the address of its own account and the public key of its own SuperNode; then
its folder holds no secret.
"""

from dataclasses import dataclass
from pathlib import Path

from coordinator.founding.certificates import make_node_key, read_node_key
from coordinator.founding.folder import (
    PUBLIC_MODE,
    SECRET_MODE,
    FederationFolder,
    new_password,
    write_new,
)
from coordinator.founding.templates import Reach, participant_toml
from coordinator.local import keyfile
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import Address, address_bytes
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.registry import RegisteredParticipant


@dataclass(frozen=True, slots=True)
class Invited:
    """A participant to invite; empty ``address`` and ``node_key`` are to be made.

    ``node_key`` is one line of an OpenSSH public key.
    """

    name: str
    address: str = ""
    node_key: str = ""


def read_public_key(path: Path) -> str:
    """Return the public key of a participant's own SuperNode.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds no public key.
    """
    try:
        return read_node_key(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def checked_address(text: str, place: str) -> Address:
    """Return an address with its checksum; ``place`` is named in errors.

    Raises
    ------
    ConfigError
        If it is not an address, or its mixed case does not match its checksum (EIP-55).
    """
    try:
        address = checksum_address(address_bytes(text))
    except ValueError as error:
        raise ConfigError(f'{place} = "{text}": expected 0x and 40 hexadecimal digits') from error
    if text not in (address, address.lower(), "0x" + address[2:].upper()):
        raise ConfigError(f'{place} = "{text}": its checksum is wrong, expected {address}')
    return address


def invite(
    folder: FederationFolder, invited: Invited, reach: Reach, agreement: FederationAgreement
) -> RegisteredParticipant:
    """Make a participant's folder, and return the entry for the registry.

    ``agreement`` is what ``federation.json`` of the federation's folder says.

    Raises
    ------
    StoreError, KeyFileError
        If a file exists already, or the disk fails.
    """
    place = folder.participant(invited.name)
    text = participant_toml(
        invited.name,
        reach,
        agreement.features.label,
        own_account=bool(invited.address),
        model=agreement.model.section if agreement.model else None,
    )
    write_new(place / "participant.toml", text, PUBLIC_MODE)
    write_new(place / "federation.json", folder.agreement.read_bytes(), PUBLIC_MODE)
    address, node_key = invited.address, invited.node_key
    if not address:
        password = new_password()
        write_new(place / "password.txt", password.encode() + b"\n", SECRET_MODE)
        address = str(keyfile.create(place / "account.json", password).address)
    if reach.tls:
        write_new(place / "ca.crt", folder.authority.read_bytes(), PUBLIC_MODE)
        node_key = node_key or _make_node_key(place, invited.name)
        write_new(folder.node_key(invited.name), node_key.encode() + b"\n", PUBLIC_MODE)
    return RegisteredParticipant(name=invited.name, address=address, node_key=node_key)


def write_node_key(path: Path, comment: str) -> str:
    """Write a SuperNode's key pair to ``path`` and ``path.pub``; return the public line."""
    made = make_node_key(comment)
    write_new(path, made.private, SECRET_MODE)
    write_new(path.with_name(f"{path.name}.pub"), made.public.encode() + b"\n", PUBLIC_MODE)
    return made.public


def _make_node_key(place: Path, name: str) -> str:
    return write_node_key(place / "node.key", name)
