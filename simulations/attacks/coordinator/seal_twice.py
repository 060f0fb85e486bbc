"""ATTACK: a second result for a round that is sealed."""

from typing import Literal

from simulations.attacks.coordinator.base import CoordinatorAttack


class SealTwice(CoordinatorAttack):
    """Tries to seal a second result for the same round; the contract refuses."""

    kind: Literal["seal_twice"]

    def seal_after(self, base_root: bytes) -> bytes | None:
        """Return the root of the round's base model."""
        return base_root
