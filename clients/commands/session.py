"""The connection of an operator's command to its federation, with the options that select it.

Values come from ``participant.toml`` (or ``coordinator.toml``), and options override them; without
``--config``, ``participant.toml`` in the current folder is read if it exists.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from eth_account.signers.local import LocalAccount

from clients.daemon.chain import check_federation
from contracts.binding.federation import Federation
from contracts.binding.http_provider import web3_at
from contracts.binding.rpc import rpc_of
from coordinator.ledger.reach import address_from, is_same_server, reach
from coordinator.local import keyfile as account
from coordinator.ports import ArtifactStore
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.coordinator import KeyFile, load_coordinator
from coordinator.settings.load import read_toml
from coordinator.settings.participant import load_participant
from coordinator.stores.http import HttpStore, Reader, open_store

DEFAULT_CONFIG: Final = Path("participant.toml")
_COORDINATOR: Final = "fedproof-coordinator-1"

Config = Annotated[
    Path | None,
    typer.Option(help="participant.toml or coordinator.toml; default: ./participant.toml."),
]
Rpc = Annotated[str | None, typer.Option(help="JSON-RPC URL of any node of the chain.")]
Contract = Annotated[str | None, typer.Option(help="The federation's address.")]
Key = Annotated[Path | None, typer.Option(help="Key file of the account.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File whose first line is the password; else ${account.PASSWORD_VARIABLE}, else a "
        "prompt."
    ),
]
Store = Annotated[str | None, typer.Option(help="The coordinator's URL, or a folder of artifacts.")]
Ca = Annotated[
    Path | None,
    typer.Option(
        help="Certificates (PEM) of the only authorities to trust, for both URLs; default: those "
        "of the configuration for its own URLs, the system's for another node."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True)
class SessionOptions:
    """The URLs, contract and account of a session; those not given are ``None``.

    ``ca`` is the only authority to trust at ``store``, ``rpc_ca`` at ``rpc``; without one, the
    system's are trusted.
    """

    rpc: str | None = None
    contract: str | None = None
    key: Path | None = None
    password_file: Path | None = None
    store: str | None = None
    ca: Path | None = None
    rpc_ca: Path | None = None
    agreement: FederationAgreement | None = None
    bond_wei: Wei = Wei(0)


@dataclass(frozen=True)
class Session:
    """A command's connection to one federation, with or without an account."""

    options: SessionOptions
    federation: Federation

    @property
    def address(self) -> Address:
        """Address of the account, read without its password."""
        if self.options.key is None:
            raise ConfigError("no account: give --key FILE, or --config participant.toml")
        return address_from(account.address_of(self.options.key), "account")

    def now(self) -> int:
        """Return the earliest block time, in seconds, of a transaction that is sent now."""
        pending = self.federation.rpc.pending_time()
        # Some nodes show no pending block; the next block is later than the last in any case.
        return self.federation.now() + 1 if pending is None else pending

    def unlock(self) -> LocalAccount:
        """Open the account's key.

        Raises
        ------
        ConfigError
            If no key is known.
        KeyFileError
            If it cannot be opened.
        """
        if self.options.key is None:
            raise ConfigError("no account: give --key FILE, or --config participant.toml")
        password = account.password_from(self.options.password_file, confirm=False)
        return account.load(self.options.key, password)

    def store(self, reader: LocalAccount | None = None) -> ArtifactStore | None:
        """Return the artifact store, ``None`` if no option names it."""
        if self.options.store is None:
            return None
        signing = None if reader is None else Reader(self.federation.domain, bytes(reader.key))
        return open_store(self.options.store, ca_file=self.options.ca, reader=signing)


def connect_session(config: Path | None, **options: Any) -> Session:
    """Connect to the federation that configuration and options name, and check its identity.

    Parameters
    ----------
    config
        ``participant.toml`` or ``coordinator.toml``; ``None`` for the default.
    options
        Fields of :class:`SessionOptions` that were given on the command line; ``None`` for those
        that were not.

    Raises
    ------
    ConfigError
        If the configuration is unusable, or node or contract are not known.
    ChainUnavailableError, LedgerError
        If the node does not answer, or has another chain or contract.
    """
    given = {name: value for name, value in options.items() if value is not None}
    configured = _configured(config, given)
    chosen = replace(configured, **given, rpc_ca=_rpc_ca(configured, given))
    if chosen.rpc is None:
        raise ConfigError("no node: give --rpc URL, or --config participant.toml")
    w3 = web3_at(chosen.rpc, ca_file=chosen.rpc_ca)
    if chosen.agreement is not None and "contract" not in given:
        check_federation(rpc_of(w3), chosen.agreement)
    federation = Federation(w3, _contract(chosen))
    _ = federation.terms  # raises if it is another contract
    return Session(chosen, federation)


def _rpc_ca(configured: SessionOptions, given: dict[str, Any]) -> Path | None:
    """Return the authority for the node; a configured one only for the server it is given for."""
    if "ca" in given:
        return Path(given["ca"])
    rpc = given.get("rpc", configured.rpc)
    known = ((configured.rpc, configured.rpc_ca), (configured.store, configured.ca))
    return next((ca for url, ca in known if url and rpc and is_same_server(url, rpc)), None)


def _contract(options: SessionOptions) -> Address:
    if options.contract is not None:
        return address_from(options.contract)
    if options.agreement is not None:
        return options.agreement.domain.verifying_contract
    if options.store is None or options.rpc is None:
        raise ConfigError("no contract: give --contract ADDRESS, --store or --config FILE")
    return reach(options.rpc, options.store, ca_file=options.ca).contract


def _configured(config: Path | None, given: dict[str, Any]) -> SessionOptions:
    if config is None:
        if "rpc" in given or not DEFAULT_CONFIG.is_file():
            return SessionOptions()
        config = DEFAULT_CONFIG
    if read_toml(config).get("format") == _COORDINATOR:
        return _from_coordinator(config)
    return _from_participant(config)


def _from_participant(config: Path) -> SessionOptions:
    settings, folder = load_participant(config), config.parent
    urls = settings.coordinator
    ca = folder / urls.ca if urls.ca else None
    return SessionOptions(
        rpc=urls.rpc,
        store=urls.store,
        ca=ca,
        rpc_ca=ca if is_same_server(urls.rpc, urls.store) else None,
        agreement=read_agreement(folder / settings.federation),
        bond_wei=Wei(settings.stake.bond_wei),
        **_key_files(settings.account, folder),
    )


def _from_coordinator(config: Path) -> SessionOptions:
    settings, folder = load_coordinator(config), config.parent
    scheme = "https" if settings.http.certificate else "http"
    host = "localhost" if settings.http.host in ("0.0.0.0", "::") else settings.http.host
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
    chain = settings.chain
    ca, chain_ca = (folder / name if name else None for name in (settings.flower.ca, chain.ca))
    return SessionOptions(
        rpc=chain.rpc or f"{url}/rpc",
        store=url,
        ca=ca,
        rpc_ca=chain_ca if chain.rpc else ca,
        agreement=read_agreement(folder / settings.federation),
        **_key_files(settings.account, folder),
    )


def _key_files(files: KeyFile, folder: Path) -> dict[str, Any]:
    password = folder / files.password_file if files.password_file else None
    return {"key": folder / files.key, "password_file": password}


def _session(
    config: Config = None,
    rpc: Rpc = None,
    contract: Contract = None,
    key: Key = None,
    password_file: PasswordFile = None,
    store: Store = None,
    ca: Ca = None,
) -> Session:
    return connect_session(
        config,
        rpc=rpc,
        contract=contract,
        key=key,
        password_file=password_file,
        store=store,
        ca=ca,
    )


def with_session(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a session to a command, whose first parameter is a :class:`Session`."""
    shared = inspect.signature(_session).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        session = _session(**{name: given.pop(name) for name in shared})
        command(session, **given)

    parameters = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def service_of(store: ArtifactStore | None) -> str | None:
    """Return the URL of the coordinator behind a store, ``None`` for a folder."""
    return store.url if isinstance(store, HttpStore) else None
