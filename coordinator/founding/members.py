"""Adds participants to an existing federation, running or not, and removes them.

The registry is replaced as a whole; a running service notices that, and admits or refuses the
SuperNode. Not handled: bonds, which belong to the participants.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contracts.binding.federation import Federation
from contracts.binding.http_client import HttpClient, UnreachableError
from contracts.binding.http_provider import web3_at
from coordinator.founding.certificates import WILDCARDS
from coordinator.founding.chain import balance_wei, chain_of_service, send_wei
from coordinator.founding.folder import PUBLIC_MODE, FederationFolder, require_folder
from coordinator.founding.invitation import Invited, invite
from coordinator.founding.templates import Reach
from coordinator.local import keyfile
from coordinator.local.files import write_durably
from coordinator.local.lock import FolderLock
from coordinator.protocol.errors import ConfigError, LedgerError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.base import Name, WeiAmount
from coordinator.settings.coordinator import CoordinatorSettings, load_coordinator
from coordinator.settings.founding import load_founding
from coordinator.settings.registry import (
    RegisteredParticipant,
    Registry,
    read_registry,
    registry_of,
)

_STATUS_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Member:
    """A participant as ``fedproof federation list`` shows it.

    ``bond_wei`` is ``None`` if the chain cannot be read, ``online`` if the service does not answer.
    """

    name: str
    address: str
    node_registered: bool
    bond_wei: int | None
    online: bool | None


@dataclass(frozen=True, slots=True)
class Listing:
    """All participants, and the reasons why some of their data is unknown."""

    members: tuple[Member, ...]
    remarks: tuple[str, ...]


class FederationMembers:
    """A federation's folder, opened to change its participants.

    Raises
    ------
    ConfigError
        If there is no federation in the folder, or a file of it is malformed.
    """

    def __init__(self, root: Path) -> None:
        self.folder: FederationFolder = require_folder(root.absolute())
        self.agreement: FederationAgreement = read_agreement(self.folder.agreement)
        self.settings: CoordinatorSettings = load_coordinator(self.folder.settings)

    @property
    def reach(self) -> Reach:
        """The coordinator's addresses for participants, from its configuration."""
        http, flower = self.settings.http, self.settings.flower
        names = http.allowed_hosts or [http.host]
        ports = (http.port, flower.port)
        return Reach.of(
            http.host, names, ports, tls=bool(http.certificate), rpc=self.settings.chain.rpc
        )

    @property
    def _here(self) -> Reach:
        """The coordinator's addresses for this machine, and the embedded chain's RPC."""
        http, flower = self.settings.http, self.settings.flower
        host = "127.0.0.1" if http.host in WILDCARDS else http.host
        ports = (http.port, flower.port)
        return Reach.of(host, [host], ports, tls=bool(http.certificate), rpc="")

    def add(self, invited: Invited, balance_wei: Wei | None = None) -> RegisteredParticipant:
        """Make a participant's folder, give it its starting balance, and admit its SuperNode.

        Parameters
        ----------
        balance_wei
            Starting balance from the treasury, on the embedded chain only; by default that of the
            first participants.

        Raises
        ------
        ConfigError
            If name, address or key exists already, or a balance is given for another chain.
        LedgerError
            If the treasury's transfer fails; then nothing was added.
        """
        if self.settings.chain.rpc and balance_wei:
            raise ConfigError("--balance: only the embedded chain has a treasury")
        with FolderLock(self.folder.root / "nodes"):
            registry = read_registry(self.folder.registry)
            _check_new(registry, invited, self.folder)
            try:
                entry = self._invite(invited)
                if not self.settings.chain.rpc:
                    self._endow(Address(entry.address), balance_wei)
            except BaseException:
                self._withdraw_invitation(invited.name)
                raise
            people = [*registry.participants, entry]
            self._write(registry_of(people, registry.removed_keys))
        return entry

    def remove(self, name: str) -> RegisteredParticipant:
        """Remove a participant from the registry; its folder and its bond stay.

        Its SuperNode's key cannot be used again: Flower never admits a removed key.

        Raises
        ------
        ConfigError
            If there is no participant of that name.
        """
        with FolderLock(self.folder.root / "nodes"):
            registry = read_registry(self.folder.registry)
            entry = registry.get(name)
            if entry is None:
                known = ", ".join(p.name for p in registry.participants) or "none"
                raise ConfigError(f"{name}: no such participant; there are: {known}")
            people = [p for p in registry.participants if p.name != name]
            removed = [entry.node_key] if entry.node_key else []
            self._write(registry_of(people, [*registry.removed_keys, *removed]))
            self.folder.node_key(name).unlink(missing_ok=True)
        return entry

    def listing(self) -> Listing:
        """Return every participant, with its state on chain and in the service."""
        remarks: list[str] = []
        entries = read_registry(self.folder.registry).participants
        bonds = self._bonds([Address(entry.address) for entry in entries], remarks)
        online = self._online(remarks)
        members = [
            Member(
                entry.name,
                entry.address,
                bool(entry.node_key),
                bond,
                None if online is None else entry.address.lower() in online,
            )
            for entry, bond in zip(entries, bonds, strict=True)
        ]
        return Listing(tuple(members), tuple(remarks))

    # --- parts -------------------------------------------------------------------------------

    def _invite(self, invited: Invited) -> RegisteredParticipant:
        return invite(self.folder, invited, self.reach, self.agreement)

    def _withdraw_invitation(self, name: str) -> None:
        shutil.rmtree(self.folder.participant(name), ignore_errors=True)
        self.folder.node_key(name).unlink(missing_ok=True)

    @property
    def _authority(self) -> Path | None:
        return self.folder.authority if self.reach.tls else None

    def _endow(self, address: Address, amount_wei: Wei | None) -> None:
        start = load_founding(self.folder.founding).chain.starting_balance_wei
        amount = Wei(start) if amount_wei is None else amount_wei
        password = keyfile.password_from(self.folder.treasury_password, confirm=False)
        treasury = keyfile.load(self.folder.treasury_key, password)
        with chain_of_service(self.folder.chain, self._here.rpc, self._authority) as w3:
            missing = amount - balance_wei(w3, address)  # a repeat after a crash pays once
            if missing > 0:
                send_wei(w3, treasury, address, Wei(missing))

    def _write(self, registry: Registry) -> None:
        write_durably(self.folder.registry, [registry.to_json()], mode=PUBLIC_MODE)

    def _bonds(self, addresses: list[Address], remarks: list[str]) -> list[Wei] | list[None]:
        contract = Address(self.agreement.contract)
        try:
            if rpc := self.settings.chain.rpc:
                return _bonds_of(addresses, Federation(web3_at(rpc), contract))
            chain, url = self.folder.chain, self._here.rpc
            with chain_of_service(chain, url, self._authority, read_only=True) as w3:
                return _bonds_of(addresses, Federation(w3, contract))
        except LedgerError as error:
            remarks.append(f"bonds not known: {error}")
            return [None for _ in addresses]

    def _online(self, remarks: list[str]) -> frozenset[str] | None:
        client = HttpClient(self._here.store, ca_file=self._authority, attempts=1)
        try:
            answer = client.get("/status", limit_bytes=_STATUS_BYTES)
            status: Any = json.loads(answer.data)
            return frozenset(str(a).lower() for a in status["contributors"]["online"])
        except UnreachableError as error:
            remarks.append(f"the service does not answer: {error}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            remarks.append(f"{self._here.store}/status: not a coordinator's answer: {error!r}")
        return None


def parse_balance(text: str) -> Wei | None:
    """Read ``--balance``: wei, or an amount with its unit; empty for the default.

    Raises
    ------
    ConfigError
        If it is not an amount.
    """
    if not text:
        return None
    try:
        amount = TypeAdapter(WeiAmount).validate_python(text)
    except ValidationError as error:
        raise ConfigError(
            f'--balance "{text}": expected wei, or an amount like "100 ether"'
        ) from error
    return Wei(amount)


def checked_name(name: str) -> str:
    """Return a participant's name; raises ``ConfigError`` if it cannot be a folder's name."""
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise ConfigError(
            f'participant "{name}": expected letters, digits, ".", "_" and "-", at most 64'
        ) from error


def _bonds_of(addresses: list[Address], federation: Federation) -> list[Wei]:
    return [federation.account(address).bond_wei for address in addresses]


def _check_new(registry: Registry, invited: Invited, folder: FederationFolder) -> None:
    if registry.get(invited.name):
        raise ConfigError(f"{invited.name}: there is such a participant already")
    if folder.participant(invited.name).exists():
        raise ConfigError(
            f"{folder.participant(invited.name)}: exists already, from an earlier participant; "
            "move it away, or choose another name"
        )
    # Values that are yet to be made get a placeholder, so that only the given ones are compared.
    placeholder = "0x" + "00" * 20
    registry_of(
        [
            *registry.participants,
            RegisteredParticipant(
                name=invited.name,
                address=invited.address or placeholder,
                node_key=invited.node_key,
            ),
        ],
        registry.removed_keys,
    )
