"""The base class of a dishonest coordinator's attacks, and the data that their hooks can use.

An attack is one class: its fields are the options of a ``[[coordinator_attacks]]`` table, its
methods the hooks, in the order of a round:

1. ``withholds``: the updates that are not published;
2. ``change_result``: the result that is sealed;
3. ``seal_before``, ``seal_after``: other seals that it tries, which the contract must refuse;
4. ``change_settlement``: the settlement;
5. ``answer``: its answer to a question for a parameter's column in a dispute.

The hooks of the base class do what an honest coordinator does. An attack should be wrong in one
respect and consistent in all others, so that exactly the intended check catches it (ADR 81). Not
handled: carrying the attacks out (:mod:`simulations.run.dishonest`).
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
    """A dishonest coordinator's tools for results that are consistent apart from the attack."""

    @property
    def clients(self) -> Sequence[Address]:
        """Addresses of the contributors, by client."""

    @property
    def coordinator(self) -> Address:
        """The coordinator's address."""

    @property
    def rule(self) -> Rule:
        """The federation's rule."""

    def place_of(self, result: RoundInput, client: int) -> int:
        """Return a client's position among a round's entries, 0 if it took no part."""

    def root_of(self, vector: Int32Vector) -> bytes:
        """Return the root of a vector of shape ``(d,)``, 32 bytes."""

    def keep(self, vector: Int32Vector) -> bytes:
        """Put a vector into the artifact store; return its root."""

    def reaggregated(
        self,
        result: RoundInput,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
    ) -> RoundInput:
        """Return the rule's result for other entries and updates.

        Raises
        ------
        AggregationError
            If the rule cannot be applied to them.
        """


class PublishedRound(Protocol):
    """The published round that a question in a dispute is about."""

    @property
    def known_rule(self) -> Rule:
        """Its rule."""

    @property
    def known_entries(self) -> Sequence[ContributorEntry]:
        """Its contributors, in leaf order."""

    def update(self, index: int) -> Int32Vector:
        """Return a contributor's update, shape ``(d,)``."""


class AnsweredColumn(Protocol):
    """A column as an answer, such as ``coordinator.protocol.disputes.columns.Column``."""

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
"""The answer to a question in a dispute: the right column, none, or a given column."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The part of an experiment that an attack's options are checked against."""

    clients: int
    min_open_s: int


class CoordinatorAttack(Section):
    """A coordinator's attack on one round: one ``[[coordinator_attacks]]`` table."""

    kind: str
    round: int = Field(ge=1)

    @property
    def keeps_updates(self) -> bool:
        """Whether it needs a store with a private part: if it overrides ``withholds``."""
        return type(self).withholds is not CoordinatorAttack.withholds

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a text for each option that contradicts the rest of the experiment.

        Each is appended to the table's name: ``".victim = 9, but ..."``.
        """
        yield from ()

    def withholds(self, contributor: Address, context: CoordinatorContext) -> bool:
        """Return whether a contributor's update is not published."""
        return False

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result to store and seal.

        Raises
        ------
        AggregationError
            To void the round.
        """
        return result

    def seal_before(self, model_root: bytes) -> bytes | None:
        """Return a model root to try to seal before the round may be sealed, or ``None``.

        ``model_root`` is the result's, 32 bytes.
        """
        return None

    def seal_after(self, base_root: bytes) -> bytes | None:
        """Return a model root to try to seal once the round is sealed, or ``None``.

        ``base_root`` is the root of the round's base model, 32 bytes.
        """
        return None

    def change_settlement(self, scored: ScoredRound, context: CoordinatorContext) -> ScoredRound:
        """Return the scores and rewards to store and settle."""
        return scored

    def answer(self, published: PublishedRound, kind: CaseKind, index: int) -> Answer:
        """Return the answer to a question about the attacked round; ``index`` as in the case."""
        return "right"


class VictimAttack(CoordinatorAttack):
    """An attack on one contributor: ``victim`` is its client number."""

    victim: int = Field(default=0, ge=0)

    def faults(self, surroundings: Surroundings) -> Iterator[str]:
        """Yield a text if the victim does not exist."""
        clients = surroundings.clients
        if self.victim >= clients:
            yield (
                f".victim = {self.victim}, but partition.clients = {clients} numbers them 0 to "
                f"{clients - 1}"
            )
