"""A contributor that never answers."""

from typing import ClassVar, Literal

from simulations.attacks.contributor.base import AttackContext, ContributorAttack, Stage


class Silent(ContributorAttack):
    """Never answers."""

    trains: ClassVar[bool] = False

    kind: Literal["silent"]

    def delay_s(self, stage: Stage, context: AttackContext) -> int | None:
        """Return ``None``: never."""
        return None
