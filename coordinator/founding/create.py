"""Creates a federation's complete folder from ``federation.toml``, all of it or nothing."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from contracts.binding.http_provider import web3_at
from coordinator.founding.agreement import Agreed, LoadExamples, agree
from coordinator.founding.certificates import make_authority, make_server, with_local
from coordinator.founding.chain import deploy_embedded, genesis_for
from coordinator.founding.folder import (
    PUBLIC_MODE,
    SECRET_MODE,
    FederationFolder,
    new_password,
    publish_folder,
    staging_for,
    write_new,
)
from coordinator.founding.invitation import Invited, checked_address, invite, read_public_key
from coordinator.founding.templates import Reach, coordinator_toml
from coordinator.ledger.deployment import deploy_federation
from coordinator.local import keyfile
from coordinator.protocol.errors import ConfigError, LedgerError, OutsideCodeError
from coordinator.protocol.types import Address
from coordinator.service.trial import try_outside_code
from coordinator.settings.founding import Founding, FoundingParticipant, load_founding
from coordinator.settings.registry import RegisteredParticipant, registry_of
from coordinator.stores.disk import DiskStore

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class OwnKey:
    """An existing account for the coordinator: its key file and password."""

    path: Path
    password: str


@dataclass(frozen=True, slots=True)
class Founded:
    """A founded federation. ``waiting_for`` says why the contract is not deployed yet, if so."""

    folder: FederationFolder
    agreed: Agreed
    participants: tuple[RegisteredParticipant, ...]
    waiting_for: str


def create_federation(
    config: Path, out: Path, own_key: OwnKey | None = None, *, load_examples: LoadExamples
) -> Founded:
    """Make a federation's folder.

    On the embedded chain this deploys the contract; on another chain only if the coordinator's
    account has the money, else ``fedproof coordinator`` deploys it at its start. ``load_examples``
    reads the public evaluation data, as ``clients.data.load.load_data`` does.

    Raises
    ------
    ConfigError
        If the file is wrong, the folder exists, or a rule or a score from outside the package fails
        on made-up updates.
    StoreError, KeyFileError, LedgerError
        If the disk, the key or the chain fails. Nothing is left behind then.
    """
    founding = load_founding(config)
    _check_host(founding)
    invited = [
        _invited(participant, index, config.parent)
        for index, participant in enumerate(founding.participants)
    ]
    out = out.absolute()
    staging = staging_for(out)
    try:
        made = _FolderWriter(founding, config, FederationFolder(staging), own_key, load_examples)
        _try_own_code(made.agreed, config)
        made.write(invited)
        publish_folder(staging, out)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(staging)
        raise
    waiting = "" if not founding.chain.rpc else _deploy_elsewhere(founding, made)
    return Founded(FederationFolder(out), made.agreed, tuple(made.registered), waiting)


class _FolderWriter:
    """Writes the folder of a new federation."""

    def __init__(
        self,
        founding: Founding,
        config: Path,
        folder: FederationFolder,
        own_key: OwnKey | None,
        load_examples: LoadExamples,
    ) -> None:
        self._founding, self._config, self._folder = founding, config, folder
        self.coordinator = self._coordinator(own_key)
        coordinator = Address(self.coordinator.address)
        self.agreed = agree(founding, coordinator, config.parent, load_examples)
        self.registered: list[RegisteredParticipant] = []

    def write(self, invited: list[Invited]) -> None:
        """Write everything, and deploy on the embedded chain."""
        founding, folder, agreed = self._founding, self._folder, self.agreed
        host = founding.host
        write_new(folder.agreement, agreed.agreement.canonical_json(), PUBLIC_MODE)
        write_new(folder.settings, coordinator_toml(founding), PUBLIC_MODE)
        write_new(folder.founding, self._config.read_bytes(), PUBLIC_MODE)
        write_new(folder.deployment, agreed.deployment.to_json(), PUBLIC_MODE)
        if host.tls:
            self._certify()
        reach = Reach.of(
            host.host,
            host.names,
            (host.http_port, host.superlink_port),
            tls=host.tls,
            rpc=founding.chain.rpc,
        )
        self.registered = [
            invite(folder, participant, reach, agreed.agreement) for participant in invited
        ]
        registry = registry_of(self.registered)
        write_new(folder.registry, registry.to_json(), PUBLIC_MODE)
        self._publish()
        if not founding.chain.rpc:
            self._start_chain()

    def _coordinator(self, own_key: OwnKey | None) -> LocalAccount:
        folder = self._folder
        if own_key is None:
            return _new_account(folder.coordinator_key, folder.coordinator_password)
        account = keyfile.load(own_key.path, own_key.password)
        write_new(folder.coordinator_key, own_key.path.read_bytes(), SECRET_MODE)
        write_new(folder.coordinator_password, own_key.password.encode() + b"\n", SECRET_MODE)
        return account

    def _certify(self) -> None:
        folder, authority = self._folder, make_authority(self._founding.name)
        host = self._founding.host
        server = make_server(authority, with_local(host.names, host.host))
        write_new(folder.authority_key, authority.key, SECRET_MODE)
        write_new(folder.authority, authority.certificate, PUBLIC_MODE)
        write_new(folder.server_key, server.key, SECRET_MODE)
        write_new(folder.server, server.certificate, PUBLIC_MODE)

    def _publish(self) -> None:
        store = DiskStore(self._folder.blobs)
        try:
            self.agreed.publish(store)
        finally:
            store.close()

    def _start_chain(self) -> None:
        folder, deployment = self._folder, self.agreed.deployment
        treasury = _new_account(folder.treasury_key, folder.treasury_password)
        genesis = genesis_for(
            self._founding,
            deployment,
            Address(treasury.address),
            [Address(participant.address) for participant in self.registered],
        )
        deploy_embedded(folder.chain, genesis, self.coordinator, deployment)


def _try_own_code(agreed: Agreed, config: Path) -> None:
    """Try a rule and a score of one's own: on a chain they could not be changed any more."""
    try:
        try_outside_code(agreed.agreement.core_rule, agreed.agreement.scoring)
    except OutsideCodeError as error:
        raise OutsideCodeError(f"{config}: {error}") from error


def _new_account(key: Path, password_file: Path) -> LocalAccount:
    password = new_password()
    write_new(password_file, password.encode() + b"\n", SECRET_MODE)
    return keyfile.create(key, password)


def _deploy_elsewhere(founding: Founding, made: _FolderWriter) -> str:
    """Deploy through an external node; return the reason if that was not possible, else empty."""
    try:
        deploy_federation(
            web3_at(founding.chain.rpc),
            made.coordinator,
            made.agreed.deployment,
            chain_id=founding.chain.chain_id,
        )
    except LedgerError as error:
        return str(error)
    return ""


def _invited(participant: FoundingParticipant, index: int, folder: Path) -> Invited:
    place = f"participants.{index}.address"
    address = checked_address(participant.address, place) if participant.address else ""
    node_key = read_public_key(folder / participant.node_key) if participant.node_key else ""
    return Invited(participant.name, address, node_key)


def _check_host(founding: Founding) -> None:
    host = founding.host
    if not host.tls and host.host not in LOOPBACK:
        raise ConfigError(
            f'host.tls = false with host.host = "{host.host}": without TLS it may only listen on '
            f"{', '.join(LOOPBACK)}"
        )
