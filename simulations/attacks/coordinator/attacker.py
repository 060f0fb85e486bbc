"""The attacks of an experiment's coordinator, by round, and the accounts involved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
