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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from pydantic import Field

from coordinator.protocol.disputes.cases import CaseKind, Entry
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    RoundInput,
    Rule,
    ScoredRound,
)
from coordinator.settings.base import Section


class CoordinatorContext(Protocol):
    """What a dishonest coordinator has at hand to make false results consistent in all else."""

    @property
    def clients(self) -> Sequence[Address]:
        """Addresses of the contributors, by client."""

    @property
    def coordinator(self) -> Address:
        """Its own address."""

    @property
    def rule(self) -> Rule:
        """The federation's rule."""

    def place_of(self, result: RoundInput, client: int) -> int:
        """Return a client's place among a round's entries; the first if it took no part."""

    def root_of(self, vector: Int32Vector) -> bytes:
        """Return the root that a vector of shape ``(d,)`` is committed by."""

    def keep(self, vector: Int32Vector) -> bytes:
        """Put a vector into the artifact store; return its root."""

    def reaggregated(
        self,
        result: RoundInput,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
    ) -> RoundInput:
        """Return the result that the rule gives for other entries and updates.

        Raises
        ------
        AggregationError
            If the rule cannot be applied to them.
        """


class PublishedRound(Protocol):
    """A round as it was published, which a question in a dispute is about."""

    @property
    def known_rule(self) -> Rule:
        """Its rule."""

    @property
    def known_entries(self) -> Sequence[ContributorEntry]:
        """Its contributors, in leaf order."""

    def update(self, index: int) -> Int32Vector:
        """Return a contributor's update, shape ``(d,)``."""


class AnsweredColumn(Protocol):
    """A column to answer with: ``coordinator.protocol.disputes.columns.Column`` is one."""

    @property
    def root(self) -> bytes:
        """Its tree's root, 32 bytes."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Its entries: all zero first, then one after each contributor."""

    @property
    def lo(self) -> int:
        """The smallest value kept."""

    @property
    def hi(self) -> int:
        """The largest value kept."""

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings that prove an entry."""


Answer: TypeAlias = Literal["right", "none"] | AnsweredColumn
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

    def withholds(self, contributor: Address, context: CoordinatorContext) -> bool:
        """Return whether a contributor's update is kept out of the public store."""
        return False

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
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

    def change_settlement(self, scored: ScoredRound, context: CoordinatorContext) -> ScoredRound:
        """Return what is stored and settled."""
        return scored

    def answer(self, published: PublishedRound, kind: CaseKind, index: int) -> Answer:
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
