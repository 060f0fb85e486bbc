"""Attacks of a dishonest coordinator: one file each, with its options and hooks in one class.

A file of this package that defines a :class:`CoordinatorAttack` with a ``kind`` is a kind of
``[[coordinator_attacks]]``; a class elsewhere is named as ``kind = "module:Name"``.
"""

from typing import Annotated

from coordinator.protocol.registry import Registry
from coordinator.settings.kinds import ByKind, kind_of
from simulations.attacks.coordinator.base import (
    Answer,
    AnsweredColumn,
    CoordinatorAttack,
    CoordinatorContext,
    PublishedRound,
    Surroundings,
    VictimAttack,
)

__all__ = [
    "COORDINATOR_ATTACKS",
    "Answer",
    "AnsweredColumn",
    "AttackTable",
    "CoordinatorAttack",
    "CoordinatorContext",
    "PublishedRound",
    "Surroundings",
    "VictimAttack",
]

COORDINATOR_ATTACKS: Registry[type[CoordinatorAttack]] = Registry.of_classes(
    __name__, CoordinatorAttack, what="attack", name_of=kind_of
)
AttackTable = Annotated[CoordinatorAttack, ByKind(COORDINATOR_ATTACKS)]
"""One ``[[coordinator_attacks]]`` table."""
