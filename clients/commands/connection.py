"""A watcher's connection to a federation: its options, the contracts and the artifact store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from eth_account.signers.local import LocalAccount

from contracts.binding.federation import Federation
from contracts.binding.referee import Referee
from coordinator.ledger.reach import reach
from coordinator.local import keyfile as account
from coordinator.ports import ArtifactStore
from coordinator.protocol.errors import ConfigError

Rpc = Annotated[str, typer.Option(help="JSON-RPC URL of any node of the chain.")]
Store = Annotated[
    str,
    typer.Option(
        help="The coordinator's URL, or a folder: a run's, a federation's, or its artifacts."
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(help="Certificates (PEM) of the only authorities to trust, for both URLs."),
]
Contract = Annotated[
    str | None,
    typer.Option(help="The federation's address; default: the one in its federation.json."),
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@dataclass(frozen=True)
class Connection:
    """One federation, its referee and its artifacts."""

    federation: Federation
    referee: Referee
    store: ArtifactStore


def connect(
    url: str,
    store: str,
    contract: str | None,
    ca: Path | None = None,
    reader: LocalAccount | None = None,
) -> Connection:
    """Open the contracts and the artifact store that a watcher reads.

    Parameters
    ----------
    url
        JSON-RPC URL of a node.
    store
        URL of the coordinator, or a folder.
    contract
        Address of the federation; ``None`` takes the one that the store names.
    ca
        Certificates of the only authorities to trust.
    reader
        The account that signs requests for updates that only members may read.

    Raises
    ------
    ConfigError
        If the folder or the address is missing, or the federation has no referee.
    ChainUnavailableError, LedgerError
        If the node does not answer, or there is no federation.
    """
    key = None if reader is None else bytes(reader.key)
    reached = reach(url, store, contract=contract, ca_file=ca, private_key=key)
    federation = Federation(reached.w3, reached.contract)
    address = federation.head().referee
    if not int(address, 16):
        raise ConfigError(f"contract {reached.contract} has no referee: nobody can be convicted")
    referee = Referee(reached.w3, address, transactor=federation.transactor)
    return Connection(federation, referee, reached.store)


def signer(key: Path | None, password_file: Path | None, *, dry_run: bool) -> LocalAccount | None:
    """Return the account that challenges, ``None`` for a dry run.

    Raises
    ------
    ConfigError
        If there is neither a key nor ``dry_run``.
    KeyFileError
        If the key cannot be opened.
    """
    if dry_run:
        return None
    if key is None:
        raise ConfigError("--key FILE is needed to challenge (fedproof account new); or --dry-run")
    return account.load(key, account.password_from(password_file, confirm=False))
