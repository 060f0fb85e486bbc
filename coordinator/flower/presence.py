"""Which Flower node speaks for which account: told by the node, signed by the account.

A node number means nothing by itself: Flower's key and the account's are different keys. So a node
is asked once whom it speaks for, and counts from then on until its statement expires.
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
    """Who is there: ``present`` maps nodes to bonded accounts, ``strangers`` are to be asked."""

    present: dict[int, Address]
    strangers: Sequence[int]
    unbonded: Sequence[Address]


class PresenceRegister:
    """Keeps what nodes have said of themselves.

    Parameters
    ----------
    domain
        Of the federation; statements for another are refused.
    min_stake_wei
        An account with a smaller bond is there, but does not count.
    bond_of
        Asks the chain.
    now
        Chain time in seconds.
    file
        Keeps what was said over a restart: nodes keep their numbers, and their word holds. ``None``
        keeps it in memory only.
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
        self._said: dict[int, Signed[Presence]] = {}
        self._bonds: dict[Address, tuple[float, Wei]] = {}
        for signed in self._remembered():
            with contextlib.suppress(FedproofError):  # it holds no longer
                self._hear(signed)

    def greet(self, signed: Signed[Presence]) -> Address:
        """Take a node's statement; return the account.

        An account that speaks through a second node is heard through that one from then on.

        Raises
        ------
        ContributorError
            Any code of ``statements.check_presence``.
        """
        account = self._hear(signed)
        self._remember()
        return account

    def _hear(self, signed: Signed[Presence]) -> Address:
        node_id = signed.statement.node_id
        account = check_presence(signed, domain=self._domain, node_id=node_id, now=self._now())
        self._said = {n: s for n, s in self._said.items() if s.signer != account}
        self._said[node_id] = signed
        self._bonds.pop(account, None)
        return account

    def _remembered(self) -> Sequence[Signed[Presence]]:
        """Return what the file holds; a damaged one is nothing to rely on."""
        if self._file is None or not self._file.exists():
            return ()
        try:
            told = parse_json(self._file.read_bytes(), str(self._file))
            return [presence_from(one) for one in told]
        except (OSError, TypeError, FedproofError) as error:
            _log.warning("nodes will be asked again whom they speak for: %s", error)
            return ()

    def _remember(self) -> None:
        if self._file is None:
            return
        said = [presence_json(signed) for _, signed in sorted(self._said.items())]
        try:
            write_durably(self._file, [canonical_json(said)], mode=None)
        except StoreError as error:
            _log.warning("%s", error)

    def attendance(self, nodes: Iterable[int]) -> Attendance:
        """Sort the connected nodes; the others are forgotten only when their word expires."""
        now = self._now()
        self._said = {n: s for n, s in self._said.items() if s.statement.expiry > now}
        present: dict[int, Address] = {}
        strangers, unbonded = [], []
        for node in sorted(nodes):
            signed = self._said.get(node)
            if signed is None:
                strangers.append(node)
            elif self._bond(signed.signer) >= self._min_stake_wei:
                present[node] = signed.signer
            else:
                unbonded.append(signed.signer)
        return Attendance(present, strangers, unbonded)

    def _bond(self, account: Address) -> Wei:
        """Return a bond that is at most a few seconds old: this is asked at every beat."""
        known = self._bonds.get(account)
        if known is not None and time.monotonic() - known[0] < _BOND_AGE_S:
            return known[1]
        bond = self._bond_of(account)
        self._bonds[account] = (time.monotonic(), bond)
        return bond
