"""The attacks of an experiment's coordinator, by round, and the accounts involved."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from coordinator.protocol.registry import outside_code
from coordinator.protocol.types import Address, RoundId
from simulations.attacks.coordinator.base import CoordinatorAttack


@dataclass(frozen=True)
class Attacker:
    """A coordinator's attacks by round; ``clients`` are the contributors' addresses, by client."""

    attacks: Mapping[int, CoordinatorAttack]
    clients: Sequence[Address]
    coordinator: Address

    @classmethod
    def of(
        cls,
        attacks: Sequence[CoordinatorAttack],
        clients: Sequence[Address],
        coordinator: Address,
    ) -> "Attacker":
        """Return the attacker of an experiment's ``[[coordinator_attacks]]``."""
        return cls({attack.round: attack for attack in attacks}, clients, coordinator)

    def attack(self, round_id: RoundId) -> CoordinatorAttack | None:
        """Return the attack in a round, ``None`` if there is none."""
        return self.attacks.get(int(round_id))


def authors_code(attack: CoordinatorAttack, hook: str) -> AbstractContextManager[None]:
    """Return a context in which what an attack's hook raises is named as its author's mistake."""
    place = f'coordinator_attacks.kind = "{attack.kind}", round {attack.round}: {hook}'
    return outside_code(attack.kind, place)
