"""Attacks of contributors: one file each, with its options and hooks in one class.

A file of this package that defines a :class:`ContributorAttack` with a ``kind`` is a kind of
``[[behaviours]]``; a class elsewhere is named as ``kind = "module:Name"``.
"""

from collections.abc import Sequence
from typing import Annotated

from coordinator.protocol.registry import Registry
from coordinator.settings.kinds import ByKind, kind_of
from simulations.attacks.contributor.base import (
    AttackContext,
    ContributorAttack,
    LocalData,
    Reply,
    Stage,
    Surroundings,
    UpdateContext,
)

__all__ = [
    "CONTRIBUTOR_ATTACKS",
    "HONEST",
    "AttackContext",
    "BehaviourTable",
    "ContributorAttack",
    "LocalData",
    "Reply",
    "Stage",
    "Surroundings",
    "UpdateContext",
    "attack_of",
    "behaviour_name",
]

CONTRIBUTOR_ATTACKS: Registry[type[ContributorAttack]] = Registry.of_classes(
    __name__, ContributorAttack, what="behaviour", name_of=kind_of
)
BehaviourTable = Annotated[ContributorAttack, ByKind(CONTRIBUTOR_ATTACKS)]
"""One ``[[behaviours]]`` table."""

HONEST = "honest"


def attack_of(
    tables: Sequence[ContributorAttack], client: int, round_id: int | None = None
) -> ContributorAttack | None:
    """Return a client's attack in a round, ``None`` if it is honest.

    Parameters
    ----------
    tables
        ``experiment.behaviours``: at most one of them names the client.
    client
        Number of the client, from 0.
    round_id
        Rounds before the table's ``from_round`` are honest; ``None`` returns the client's attack in
        any round (for reports, and to decide whether it bonds).
    """
    for table in tables:
        if client in table.clients and (round_id is None or round_id >= table.from_round):
            return table
    return None


def behaviour_name(tables: Sequence[ContributorAttack], client: int) -> str:
    """Return the name of a client's behaviour: the ``kind`` of its table, or ``honest``."""
    attack = attack_of(tables, client)
    return HONEST if attack is None else attack.kind
