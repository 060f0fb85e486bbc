"""Finds a federation from outside: a node's URL, a store's URL or folder, the contract's address.

What options leave out is read from the federation's own files: a run's ``federation.json``, a
federation's agreement, or what the store's server serves as its agreement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from web3 import Web3

from contracts.binding.http_provider import web3_at
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import BlobMissingError, ConfigError, VerificationError
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import Address, SigningDomain, address_bytes
from coordinator.stores.disk import DiskStore
from coordinator.stores.http import HttpStore, Reader, open_store

AGREEMENT_FORMAT: Final = "fedproof-federation-1"
_FILE: Final = "federation.json"


@dataclass(frozen=True, slots=True)
class Reach:
    """A federation as seen from here; nothing has been asked of the node yet.

    ``agreement`` is the bytes of the federation's agreement, ``None`` where there is none at
    hand: a simulated run, a bare folder of blobs.
    """

    w3: Web3
    contract: Address
    store: HttpStore | DiskStore
    agreement: bytes | None


def reach(
    rpc: str,
    store: str | Path,
    *,
    contract: str | None = None,
    ca_file: Path | None = None,
    private_key: bytes | None = None,
) -> Reach:
    """Find a federation.

    Parameters
    ----------
    rpc
        JSON-RPC URL of any node of the chain.
    store
        URL of a coordinator, or a folder: a run's, a federation's, or only its blobs.
    contract
        The federation's address; by default what its files or its coordinator say.
    ca_file
        PEM certificates of the only authorities to trust, for both URLs.
    private_key
        Key of a bonded account, for updates that only members may read.

    Raises
    ------
    ConfigError
        If a URL, folder, file or address cannot be used, or there is no address anywhere.
    StoreError
        If the address or the reader's domain is to come from a server that does not answer.
    """
    w3, opened = web3_at(rpc, ca_file=ca_file), open_store(store, ca_file=ca_file)
    said = _file_of(opened, store)
    fields = _fields(said, str(store)) if said else {}
    is_agreement = fields.get("format") == AGREEMENT_FORMAT
    named = contract or fields.get("contract")
    if not isinstance(named, str):
        raise ConfigError(f"{store}: does not say where the contract is; give --contract ADDRESS")
    address = address_from(named)
    chain_id = fields.get("chain_id")
    if private_key is not None and isinstance(opened, HttpStore) and isinstance(chain_id, int):
        reader = Reader(SigningDomain(chain_id, address), private_key)
        opened = HttpStore(opened.url, ca_file=ca_file, reader=reader)
    return Reach(w3, address, opened, said if is_agreement else None)


def address_from(text: str, what: str = "--contract") -> Address:
    """Return an address in EIP-55; ``what`` names it in errors.

    Raises
    ------
    ConfigError
        If it is no address.
    """
    try:
        raw = address_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{what} {text!r}: not an address: {error}") from error
    if len(raw) != 20 or not text.startswith("0x"):
        raise ConfigError(f"{what} {text!r}: expected 0x and 40 hexadecimal digits")
    return checksum_address(raw)


def is_same_server(url: str, other: str) -> bool:
    """Return whether two URLs name one host and port, so that one authority vouches for both."""
    return urlsplit(url).netloc.lower() == urlsplit(other).netloc.lower()


def _file_of(opened: HttpStore | DiskStore, store: str | Path) -> bytes | None:
    """Return what the federation's own file says, ``None`` if there is none."""
    try:
        if isinstance(opened, HttpStore):
            return opened.get_agreement()
        folder = Path(store)
        candidates = (place / _FILE for place in (folder, folder.parent))
        return next((file.read_bytes() for file in candidates if file.is_file()), None)
    except BlobMissingError:
        return None
    except OSError as error:
        raise ConfigError(f"{store}: {error.strerror or error}") from error


def _fields(said: bytes, source: str) -> Mapping[str, Any]:
    try:
        fields = parse_json(said, source)
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    return fields if isinstance(fields, dict) else {}
