"""What the operator's commands share: which federation, as whom.

Everything comes from ``participant.toml`` (or ``coordinator.toml``), and each option overrides it;
without either, ``participant.toml`` in the current folder is taken.
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
        help="Certificates (PEM) of the only authorities to trust, for both URLs; default: what "
        "the configuration gives for each, the system's for another node."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True)
class Place:
    """Where a federation is, and whose account acts; what is not known is ``None``.

    ``ca`` is the only authority to trust at ``store``, ``rpc_ca`` that at ``rpc``; without, the
    system's are.
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
    """One federation, and perhaps one account, for the length of a command."""

    place: Place
    federation: Federation

    @property
    def address(self) -> Address:
        """Address of the account, without its password."""
        if self.place.key is None:
            raise ConfigError("no account: give --key FILE, or --config participant.toml")
        return address_from(account.address_of(self.place.key), "account")

    def now(self) -> int:
        """Return the chain time that a transaction sent now would see, or earlier."""
        pending = self.federation.rpc.pending_time()
        # Some nodes show no pending block; the next one is later than the last at any rate.
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
        if self.place.key is None:
            raise ConfigError("no account: give --key FILE, or --config participant.toml")
        password = account.password_from(self.place.password_file, confirm=False)
        return account.load(self.place.key, password)

    def store(self, reader: LocalAccount | None = None) -> ArtifactStore | None:
        """Return the artifacts, ``None`` if it is not known where they are."""
        if self.place.store is None:
            return None
        asks = None if reader is None else Reader(self.federation.domain, bytes(reader.key))
        return open_store(self.place.store, ca_file=self.place.ca, reader=asks)


def connect_session(config: Path | None, **options: Any) -> Session:
    """Find the federation that configuration and options name, and check that it is that one.

    Parameters
    ----------
    options
        Fields of :class:`Place` that were given on the command line; ``None`` for those that
        were not.

    Raises
    ------
    ConfigError
        If the configuration is unusable, or node or contract are not known.
    ChainUnavailableError, LedgerError
        If the node does not answer, or has another chain or contract.
    """
    given = {name: value for name, value in options.items() if value is not None}
    configured = _configured(config, given)
    place = replace(configured, **given, rpc_ca=_rpc_ca(configured, given))
    if place.rpc is None:
        raise ConfigError("no node: give --rpc URL, or --config participant.toml")
    w3 = web3_at(place.rpc, ca_file=place.rpc_ca)
    if place.agreement is not None and "contract" not in given:
        check_federation(rpc_of(w3), place.agreement)
    federation = Federation(w3, _contract(place))
    _ = federation.terms  # raises if it is another contract
    return Session(place, federation)


def _rpc_ca(configured: Place, given: dict[str, Any]) -> Path | None:
    """Return the authority for the node; the coordinator's vouches for no other server."""
    if "ca" in given:
        return Path(given["ca"])
    rpc = given.get("rpc", configured.rpc)
    known = ((configured.rpc, configured.rpc_ca), (configured.store, configured.ca))
    return next((ca for url, ca in known if url and rpc and is_same_server(url, rpc)), None)


def _contract(place: Place) -> Address:
    if place.contract is not None:
        return address_from(place.contract)
    if place.agreement is not None:
        return place.agreement.domain.verifying_contract
    if place.store is None or place.rpc is None:
        raise ConfigError("no contract: give --contract ADDRESS, --store or --config FILE")
    return reach(place.rpc, place.store, ca_file=place.ca).contract


def _configured(config: Path | None, given: dict[str, Any]) -> Place:
    if config is None:
        if "rpc" in given or not DEFAULT_CONFIG.is_file():
            return Place()
        config = DEFAULT_CONFIG
    if read_toml(config).get("format") == _COORDINATOR:
        return _coordinators_place(config)
    return _participants_place(config)


def _participants_place(config: Path) -> Place:
    settings, home = load_participant(config), config.parent
    reached = settings.coordinator
    ca = home / reached.ca if reached.ca else None
    return Place(
        rpc=reached.rpc,
        store=reached.store,
        ca=ca,
        rpc_ca=ca if is_same_server(reached.rpc, reached.store) else None,
        agreement=read_agreement(home / settings.federation),
        bond_wei=Wei(settings.stake.bond_wei),
        **_key_files(settings.account, home),
    )


def _coordinators_place(config: Path) -> Place:
    settings, home = load_coordinator(config), config.parent
    scheme = "https" if settings.http.certificate else "http"
    host = "localhost" if settings.http.host in ("0.0.0.0", "::") else settings.http.host
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
    chain = settings.chain
    ca, chain_ca = (home / name if name else None for name in (settings.flower.ca, chain.ca))
    return Place(
        rpc=chain.rpc or f"{url}/rpc",
        store=url,
        ca=ca,
        rpc_ca=chain_ca if chain.rpc else ca,
        agreement=read_agreement(home / settings.federation),
        **_key_files(settings.account, home),
    )


def _key_files(files: KeyFile, home: Path) -> dict[str, Any]:
    password = home / files.password_file if files.password_file else None
    return {"key": home / files.key, "password_file": password}


def _options(
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
    """Give a command that takes a :class:`Session` first the options that a desk is found by."""
    shared = inspect.signature(_options).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        session = _options(**{name: given.pop(name) for name in shared})
        command(session, **given)

    taken = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in taken}
    return run


def service_of(store: ArtifactStore | None) -> str | None:
    """Return the URL of the coordinator behind a store, ``None`` for a folder."""
    return store.url if isinstance(store, HttpStore) else None
