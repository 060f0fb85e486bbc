"""Which Flower node belongs to which account, by statements that the account signed.

Flower's node key and the account's key are different, so a node number alone names no account. Each
node is asked once for a signed statement, and counts as its account until the statement expires.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.flower.driver_wire import presence_from, presence_json
from coordinator.local.files import write_durably
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import FedproofError, StoreError
from coordinator.protocol.signatures.statements import check_presence
from coordinator.protocol.types import Address, Presence, Signed, SigningDomain, Wei

_BOND_AGE_S: Final = 5.0
_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Attendance:
    """The connected nodes.

    ``present`` maps nodes to bonded accounts, ``strangers`` have not been asked for a statement
    yet, ``unbonded`` are accounts whose bond is too small.
    """

    present: dict[int, Address]
    strangers: Sequence[int]
    unbonded: Sequence[Address]


class PresenceRegister:
    """Keeps the nodes' presence statements.

    Parameters
    ----------
    domain
        The federation's signing domain; statements for another are refused.
    min_stake_wei
        An account with a smaller bond does not count as present.
    bond_of
        Reads an account's bond from the chain, in wei.
    now
        Chain time in seconds.
    file
        Keeps statements over a restart, since nodes keep their numbers. ``None`` keeps them in
        memory only.
    """

    def __init__(
        self,
        domain: SigningDomain,
        min_stake_wei: Wei,
        bond_of: Callable[[Address], Wei],
        now: Callable[[], int],
        file: Path | None = None,
    ) -> None:
        self._domain, self._min_stake_wei = domain, min_stake_wei
        self._bond_of, self._now = bond_of, now
        self._file = file
        self._statements: dict[int, Signed[Presence]] = {}
        self._bonds: dict[Address, tuple[float, Wei]] = {}
        for signed in self._read_file():
            with contextlib.suppress(FedproofError):  # it has expired
                self._accept(signed)

    def greet(self, signed: Signed[Presence]) -> Address:
        """Accept a node's statement; return the account.

        If an account has a statement for a second node, the second replaces the first.

        Raises
        ------
        ContributorError
            Any code of ``statements.check_presence``.
        """
        account = self._accept(signed)
        self._write_file()
        return account

    def _accept(self, signed: Signed[Presence]) -> Address:
        node_id = signed.statement.node_id
        account = check_presence(signed, domain=self._domain, node_id=node_id, now=self._now())
        self._statements = {n: s for n, s in self._statements.items() if s.signer != account}
        self._statements[node_id] = signed
        self._bonds.pop(account, None)
        return account

    def _read_file(self) -> Sequence[Signed[Presence]]:
        """Return the statements in the file, none if it is damaged."""
        if self._file is None or not self._file.exists():
            return ()
        try:
            document = parse_json(self._file.read_bytes(), str(self._file))
            return [presence_from(entry) for entry in document]
        except (OSError, TypeError, FedproofError) as error:
            _log.warning("nodes will be asked again whom they speak for: %s", error)
            return ()

    def _write_file(self) -> None:
        if self._file is None:
            return
        entries = [presence_json(signed) for _, signed in sorted(self._statements.items())]
        try:
            write_durably(self._file, [canonical_json(entries)], mode=None)
        except StoreError as error:
            _log.warning("%s", error)

    def attendance(self, nodes: Iterable[int]) -> Attendance:
        """Classify the connected nodes; statements of other nodes are kept until they expire."""
        now = self._now()
        self._statements = {n: s for n, s in self._statements.items() if s.statement.expiry > now}
        present: dict[int, Address] = {}
        strangers, unbonded = [], []
        for node in sorted(nodes):
            signed = self._statements.get(node)
            if signed is None:
                strangers.append(node)
            elif self._bond(signed.signer) >= self._min_stake_wei:
                present[node] = signed.signer
            else:
                unbonded.append(signed.signer)
        return Attendance(present, strangers, unbonded)

    def _bond(self, account: Address) -> Wei:
        """Return a bond in wei, at most a few seconds old, as this is called at every heartbeat."""
        known = self._bonds.get(account)
        if known is not None and time.monotonic() - known[0] < _BOND_AGE_S:
            return known[1]
        bond = self._bond_of(account)
        self._bonds[account] = (time.monotonic(), bond)
        return bond
