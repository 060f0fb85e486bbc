"""ATTACK: the round is sealed before contributors have had time to answer."""

from collections.abc import Iterator
from typing import Literal

from simulations.attacks.coordinator.base import CoordinatorAttack, Surroundings

EARLY_S = 10
"""Smallest ``chain.min_open_s``, in seconds, with which a seal is too early for certain."""


class SealEarly(CoordinatorAttack):
    """Tries to seal before ``chain.min_open_s`` has passed; the contract refuses."""

    kind: Literal["seal_early"]

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a text if ``chain.min_open_s`` is too short for an early seal."""
        if surroundings.min_open_s < EARLY_S:
            yield (
                f" seals early, but chain.min_open_s = {surroundings.min_open_s} leaves no time "
                f"before it; expected at least {EARLY_S}"
            )

    def seal_before(self, model_root: bytes) -> bytes | None:
        """Return the result's own root."""
        return model_root
