"""Where a watcher looks: a node, a contract, a folder of artifacts; options and their errors."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from eth_account.signers.local import LocalAccount
from web3 import Web3

from clients import account
from contracts.federation import Federation
from contracts.referee import Referee
from coordinator.adapters.store import DiskStore
from coordinator.core.errors import ConfigError
from coordinator.core.signing import checksum_address
from coordinator.core.types import Address, address_bytes

Rpc = Annotated[str, typer.Option(help="JSON-RPC URL of any node of the chain.")]
Store = Annotated[
    Path, typer.Option(help="The run's folder, or a folder of its artifacts (blobs/).")
]
Contract = Annotated[
    str | None,
    typer.Option(help="The federation's address; default: from the run's federation.json."),
]
Key = Annotated[Path | None, typer.Option(help="Key file of the account that challenges.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File whose first line is the password; else ${account.PASSWORD_VARIABLE}, else a "
        "prompt."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only report; no key, no transaction.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@dataclass(frozen=True)
class Connection:
    """One federation, its referee and its artifacts."""

    federation: Federation
    referee: Referee
    store: DiskStore


def connect(url: str, store: Path, contract: str | None) -> Connection:
    """Open everything a watcher reads.

    Raises
    ------
    ConfigError
        If there is no folder, no address, or the federation has no referee.
    ChainUnavailableError, LedgerError
        If the node does not answer, or there is no contract.
    """
    if not store.is_dir():
        raise ConfigError(f"--store {store}: no such folder; expected a run's folder or its blobs")
    address = _address(contract) if contract else _address_in(store / "federation.json")
    w3 = Web3(Web3.HTTPProvider(url))
    federation = Federation(w3, address)
    judge = federation.head().referee
    if not int(judge, 16):
        raise ConfigError(f"contract {address} has no referee: nobody can be convicted there")
    referee = Referee(w3, judge, transactor=federation.transactor)
    blobs = store / "blobs"
    return Connection(
        federation, referee, DiskStore(blobs if blobs.is_dir() else store, read_only=True)
    )


def _address(text: str) -> Address:
    try:
        raw = address_bytes(text)
    except ValueError as error:
        raise ConfigError(f"--contract {text!r}: not an address: {error}") from error
    if len(raw) != 20 or not text.startswith("0x"):
        raise ConfigError(f"--contract {text!r}: expected 0x and 40 hexadecimal digits")
    return checksum_address(raw)


def _address_in(path: Path) -> Address:
    try:
        document: Any = json.loads(path.read_bytes())
        return _address(str(document["contract"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: does not say where the contract is; give --contract ADDRESS"
        ) from error


def signer(key: Path | None, password_file: Path | None, *, dry_run: bool) -> LocalAccount | None:
    """Return the account that challenges, ``None`` for a dry run.

    Raises
    ------
    ConfigError
        If neither a key nor a dry run is asked for.
    KeyFileError
        If the key cannot be opened.
    """
    if dry_run:
        return None
    if key is None:
        raise ConfigError("--key FILE is needed to challenge (fedproof account new); or --dry-run")
    return account.load(key, account.password_from(password_file, confirm=False))
