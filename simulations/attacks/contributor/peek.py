"""A free rider that signs what another contributor sends in the same round."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from simulations.attacks.contributor.base import ContributorAttack, Surroundings


class Peek(ContributorAttack):
    """Signs what ``victim`` sends in the same round, which it overhears.

    In a sealed round all it can overhear in time is a commitment, and it commits to the same.
    """

    kind: Literal["peek"]
    victim: int = Field(default=0, ge=0)

    @property
    def overhears(self) -> int | None:
        """The victim."""
        return self.victim

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a victim that is not there, or is an attacker itself, and absent victims."""
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
