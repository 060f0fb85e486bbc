"""What every attack of a contributor is built on: its options, its hooks, what they can know.

An attack is one class: its fields are the options of a ``[[behaviours]]`` table, its methods the
hooks. The hooks of a round are called in this order:

1. ``change_data``: the examples to train on;
2. ``change_update``: the integer update, before anything is signed;
3. ``second_update``: a second update to sign and send for the same round;
4. ``change_statement``: the statement that will be signed;
5. ``change_reply``: what is sent, after signing;
6. ``delay_s``: when it is sent, or never (asked first where training would be wasted).

Every hook of the base changes nothing, so an attack overrides only its own. Hooks are pure: what
they draw comes from the generators in the context, and the arrays they are given are read-only.
Not handled: training, sending and signing (:mod:`simulations.run.client_mod`).
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
"""What a reply holds: the update of an open round; a sealed round's commitment, or its reveal."""


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
    """What an attacking contributor knows in a round.

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
        The client's own for this round and hook.
    shared_generator
        Draws the same for every colluder of the round in the same hook.
    """

    client: int
    round_id: RoundId
    colluders: tuple[int, ...]
    generator: np.random.Generator
    shared_generator: np.random.Generator


@dataclass(frozen=True, slots=True)
class UpdateContext(AttackContext):
    """What an attacking contributor knows when it makes its update.

    Attributes
    ----------
    base_model
        The global model the round started from, shape ``(d,)``, fixed point.
    scale_bits
        Fractional bits of ``base_model`` and of every update.
    published
        The updates that the previous round published, by client; read when asked for.
    benign
        What each colluder would have sent had it been honest, by client; trained on its
        unchanged data when asked for (ADR 134 says what that costs).
    """

    base_model: Int32Vector
    scale_bits: int
    published: Mapping[int, Int32Vector]
    benign: Mapping[int, Int32Vector]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent beside the signed message; ``vector`` may be anything in a corrupt one."""

    vector: NDArray[Any]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The part of an experiment that an attack's options can contradict."""

    clients: int
    cohort_size: int
    rounds: int
    sealed: bool


class ContributorAttack(Section):
    """A contributor's misconduct: one ``[[behaviours]]`` table.

    ``clients`` are those that misbehave so, from round ``from_round`` on.

    Attributes
    ----------
    bonds
        Whether the contributors ever join.
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
        """The client whose signed update of this very round it passes off as its own, if any."""
        return None

    @property
    def sends_second_update(self) -> bool:
        """Whether it takes a second node with the same key: where ``second_update`` is its own."""
        return type(self).second_update is not ContributorAttack.second_update

    @property
    def changes_data(self) -> bool:
        """Whether ``change_data`` is its own."""
        return type(self).change_data is not ContributorAttack.change_data

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield what of the options contradicts the rest of the experiment.

        Each text follows the table's place: ``".victim = 9 must be ..."``.
        """
        yield from ()

    def change_data(self, data: LocalData, context: AttackContext) -> LocalData:
        """Return the examples to train on; at least one, with labels of the same classes."""
        return data

    def change_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the update to sign, shape ``(d,)`` int32; ``update`` is what training gave."""
        return update

    def second_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return another update to sign for the same round; ``update`` is the first."""
        return update

    def change_statement(self, message: UpdateMessage, context: AttackContext) -> UpdateMessage:
        """Return the statement to sign."""
        return message

    def change_reply(self, reply: Reply, context: AttackContext) -> Reply:
        """Return what to send."""
        return reply

    def delay_s(self, stage: Stage, context: AttackContext) -> int | None:
        """Return how many chain seconds after the round's opening to send, or ``None`` for never.

        With 0 the reply is sent at once. Delayed replies arrive after all that are not, in order
        of delay; one of ``chain.round_deadline_s`` or more misses the round.
        """
        return 0


def to_int32(values: NDArray[np.float64]) -> Int32Vector:
    """Return values rounded to the nearest integer (halves to even), within int32."""
    return np.clip(np.rint(values), INT32.min, INT32.max).astype(np.int32)
