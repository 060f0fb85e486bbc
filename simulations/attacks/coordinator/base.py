"""What every attack of a dishonest coordinator is built on: options, hooks, what they can use.

An attack is one class: its fields are the options of a ``[[coordinator_attacks]]`` table, its
methods the hooks, in the order of a round:

1. ``withholds``: which updates never reach the public store;
2. ``change_result``: what is sealed;
3. ``seal_before``, ``seal_after``: what else it tries to seal, which the contract must refuse;
4. ``change_settlement``: what is settled;
5. ``answer``: what it answers when a parameter's column is asked for in a dispute.

Every hook of the base does what an honest coordinator does. An attack should be wrong in one thing
and consistent in all others, so that what catches it is what was meant to. Not handled: carrying
the attacks out (:mod:`simulations.run.dishonest`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, Union

from pydantic import Field

from coordinator.protocol.types import Address
from coordinator.settings.base import Section

if TYPE_CHECKING:  # the schema imports this file, and these take the compiled kernels along
    from coordinator.protocol.disputes import CaseKind, Column, DisputedRound
    from coordinator.protocol.types import RoundInput
    from coordinator.service.settling import ScoredRound
    from simulations.attacks.coordinator.forging import CoordinatorContext

Answer: TypeAlias = Union[Literal["right", "none"], "Column"]
"""To a question in a dispute: the right column, no answer, or a column of its own."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The part of an experiment that an attack's options can contradict."""

    clients: int
    min_open_s: int


class CoordinatorAttack(Section):
    """A coordinator's attack on one round: one ``[[coordinator_attacks]]`` table."""

    kind: str
    round: int = Field(ge=1)

    @property
    def keeps_updates(self) -> bool:
        """Whether it needs a store with a private part: where ``withholds`` is its own."""
        return type(self).withholds is not CoordinatorAttack.withholds

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield what of the options contradicts the rest of the experiment.

        Each text follows the table's place: ``".victim = 9, but ..."``.
        """
        yield from ()

    def withholds(self, contributor: Address, context: "CoordinatorContext") -> bool:
        """Return whether a contributor's update is kept out of the public store."""
        return False

    def change_result(self, result: "RoundInput", context: "CoordinatorContext") -> "RoundInput":
        """Return what is stored and sealed.

        Raises
        ------
        AggregationError
            To give the round up.
        """
        return result

    def seal_before(self, model_root: bytes) -> bytes | None:
        """Return a model root to try to seal before the round may be sealed, or ``None``.

        ``model_root`` is that of the result; 32 bytes.
        """
        return None

    def seal_after(self, base_root: bytes) -> bytes | None:
        """Return a model root to try to seal once the round is sealed, or ``None``.

        ``base_root`` is that of the model the round started from; 32 bytes.
        """
        return None

    def change_settlement(
        self, scored: "ScoredRound", context: "CoordinatorContext"
    ) -> "ScoredRound":
        """Return what is stored and settled."""
        return scored

    def answer(self, disputed: "DisputedRound", kind: "CaseKind", index: int) -> Answer:
        """Return the answer to a question about the attacked round; ``index`` as in the case."""
        return "right"


class VictimAttack(CoordinatorAttack):
    """An attack on one contributor: ``victim`` is the client it is done to."""

    victim: int = Field(default=0, ge=0)

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a victim that does not exist."""
        clients = surroundings.clients
        if self.victim >= clients:
            yield (
                f".victim = {self.victim}, but partition.clients = {clients} numbers them 0 to "
                f"{clients - 1}"
            )
