"""A free rider that signs another contributor's update of the same round."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from simulations.attacks.contributor.base import ContributorAttack, Surroundings


class Peek(ContributorAttack):
    """Signs the update that ``victim`` sends in the same round, which it overhears.

    In a sealed round it can overhear only the commitment in time, and commits to the same.
    """

    kind: Literal["peek"]
    victim: int = Field(default=0, ge=0)

    @property
    def overhears(self) -> int | None:
        """The victim."""
        return self.victim

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a text if the victim does not exist, is an attacker, or may miss a round."""
        clients = surroundings.clients
        if self.victim >= clients or self.victim in self.clients:
            yield (
                f".victim = {self.victim} must be another client than clients = {self.clients}, "
                f"of partition.clients = {clients} numbered from 0"
            )
        if surroundings.cohort_size < clients:
            yield (
                f" overhears its victim in every round, but cohort.size = "
                f"{surroundings.cohort_size} leaves some of partition.clients = {clients} out"
            )
