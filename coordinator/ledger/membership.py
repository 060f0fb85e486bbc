"""Members and their bonds at every round, read from the contract's events.

The contract can say the same by a call, but it would walk its storage anew for every round: with
a thousand members that costs seconds. Events are read once, from where the last reading stopped.
A test compares both. Not handled: a node that replaces blocks it has shown (the embedded chain
never does); on such a chain read only blocks that are settled.
"""

from collections.abc import Mapping
from types import MappingProxyType

from contracts.binding.events import Joined, Left, RoundOpened, Slashed
from contracts.binding.federation import Federation
from coordinator.protocol.types import Address, Wei


class Membership:
    """Follows one federation's events."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._next_block = 0
        self._members: list[Address] = []
        self._bonds: dict[Address, Wei] = {}
        self._current: Mapping[Address, Wei] = MappingProxyType({})
        self._at_round: dict[int, Mapping[Address, Wei]] = {}
        self._changed = False

    def members(self, count: int) -> list[Address]:
        """Return the first ``count`` members in order of joining."""
        if len(self._members) < count:
            self._read()
        return self._members[:count]

    def stakes_at(self, round_id: int) -> Mapping[Address, Wei]:
        """Return the bonds above zero when a round opened; for one that has not opened: now."""
        if round_id not in self._at_round:
            self._read()
        return self._at_round[round_id] if round_id in self._at_round else self._snapshot()

    def _read(self) -> None:
        head = self._federation.block().number
        for event in self._federation.events(self._next_block, head):
            match event:
                case Joined():
                    if event.account not in self._bonds:
                        self._members.append(event.account)
                    self._bonds[event.account] = event.bond
                    self._changed = True
                case Left():
                    self._cut(event.account, Wei(0))
                case Slashed():
                    self._cut(event.account, event.bond)
                case RoundOpened():
                    self._at_round[int(event.round)] = self._snapshot()
                case _:
                    pass
        self._next_block = head + 1

    def _cut(self, account: Address, bond: Wei) -> None:
        # The coordinator leaves and is slashed too, but it never joined: it is no member.
        if account in self._bonds:
            self._bonds[account] = bond
            self._changed = True

    def _snapshot(self) -> Mapping[Address, Wei]:
        """Return the bonds now; rounds between which nothing changed share one mapping."""
        if self._changed:
            bonded = {account: bond for account, bond in self._bonds.items() if bond > 0}
            self._current, self._changed = MappingProxyType(bonded), False
        return self._current
