"""The base class of contributors' attacks, and the data that their hooks can use.

An attack is one class: its fields are the options of a ``[[behaviours]]`` table, its methods the
hooks. The hooks of a round are called in this order:

1. ``change_data``: the examples to train on;
2. ``change_update``: the integer update, before anything is signed;
3. ``second_update``: a second update to sign and send for the same round;
4. ``change_statement``: the statement that will be signed;
5. ``change_reply``: the reply that is sent, after signing;
6. ``delay_s``: when it is sent, or never (called first, to save training for nothing).

The hooks of the base class change nothing, so an attack overrides only those it needs. Hooks are
pure: they draw from the generators in the context, and their array arguments are read-only. Not
handled: training, sending and signing (:mod:`simulations.run.client_mod`), which are in the mod
because a real attacker has key and network there (ADR 64).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from coordinator.protocol.types import Int32Vector, RoundId, UpdateMessage
from coordinator.settings.base import ClientIds, Section

INT32 = np.iinfo(np.int32)

Stage = Literal["update", "commitment", "reveal"]
"""The kind of a reply: the update of an open round; a sealed round's commitment, or its reveal."""


@dataclass(frozen=True, slots=True)
class LocalData:
    """A contributor's own training examples.

    ``x`` has shape ``(n, *input_shape)`` and dtype float32, ``y`` shape ``(n,)`` and dtype int64
    with values from 0 to ``num_classes - 1``.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    num_classes: int


@dataclass(frozen=True, slots=True)
class AttackContext:
    """The data that an attacking contributor has in a round.

    Attributes
    ----------
    client
        Its number, from 0.
    round_id
        The round.
    colluders
        The clients of the same ``[[behaviours]]`` table in this round's cohort, ascending; the
        client itself is one of them.
    generator
        The client's own generator for this round and hook.
    shared_generator
        Draws the same values for every colluder of the round in the same hook.
    """

    client: int
    round_id: RoundId
    colluders: tuple[int, ...]
    generator: np.random.Generator
    shared_generator: np.random.Generator


@dataclass(frozen=True, slots=True)
class UpdateContext(AttackContext):
    """The data that an attacking contributor has when it makes its update.

    Attributes
    ----------
    base_model
        The global model the round started from, shape ``(d,)``, fixed point.
    scale_bits
        Fractional bits of ``base_model`` and of every update.
    published
        The updates that the previous round published, by client; each is read on access.
    benign
        The honest update of each colluder, by client; each is trained on its unchanged data on
        access (ADR 134 says what that costs).
    """

    base_model: Int32Vector
    scale_bits: int
    published: Mapping[int, Int32Vector]
    benign: Mapping[int, Int32Vector]


@dataclass(frozen=True, slots=True)
class Reply:
    """Vector and signature that are sent with the signed message; an attack may send any array."""

    vector: NDArray[Any]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The part of an experiment that an attack's options are checked against."""

    clients: int
    cohort_size: int
    rounds: int
    sealed: bool


class ContributorAttack(Section):
    """A contributor's attack: one ``[[behaviours]]`` table.

    ``clients`` attack from round ``from_round`` on.

    Attributes
    ----------
    bonds
        Whether the contributors bond a stake.
    trains
        Whether the update needs local training; otherwise ``change_update`` gets zeros.
    """

    bonds: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    kind: str
    clients: ClientIds
    from_round: int = Field(default=1, ge=1)

    @property
    def overhears(self) -> int | None:
        """The client whose update of the same round it copies, ``None`` if it copies none."""
        return None

    @property
    def sends_second_update(self) -> bool:
        """Whether it needs a second node with the same key: if it overrides ``second_update``."""
        return type(self).second_update is not ContributorAttack.second_update

    @property
    def changes_data(self) -> bool:
        """Whether it overrides ``change_data``."""
        return type(self).change_data is not ContributorAttack.change_data

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a text for each option that contradicts the rest of the experiment.

        Each is appended to the table's name: ``".victim = 9 must be ..."``.
        """
        yield from ()

    def change_data(self, data: LocalData, context: AttackContext) -> LocalData:
        """Return the examples to train on; at least one, with labels of the same classes."""
        return data

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the update to sign, shape ``(d,)`` int32; ``update`` is the trained one."""
        return update

    def second_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return another update to sign for the same round; ``update`` is the first."""
        return update

    def change_statement(self, message: UpdateMessage, context: AttackContext) -> UpdateMessage:
        """Return the statement to sign."""
        return message

    def change_reply(self, reply: Reply, context: AttackContext) -> Reply:
        """Return the reply to send."""
        return reply

    def delay_s(self, stage: Stage, context: AttackContext) -> int | None:
        """Return the delay in seconds of chain time after the round's opening, ``None`` for never.

        With 0 the reply is sent at once. Delayed replies arrive after all others, in order of
        delay; one of ``chain.round_deadline_s`` or more misses the round.
        """
        return 0


def to_int32(values: NDArray[np.float64]) -> Int32Vector:
    """Return values rounded to the nearest integer (halves to even), within int32."""
    return np.clip(np.rint(values), INT32.min, INT32.max).astype(np.int32)
