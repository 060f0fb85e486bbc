"""What a scoring rule is given: one sealed round, as plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from coordinator.protocol.types import Address, Int32Vector, Rule

Evaluate = Callable[[Int32Vector], int]
"""Utility of a model on the committed evaluation set, larger is better; exact on every machine
(:func:`~coordinator.protocol.scores.exact_model.utility`)."""


@dataclass(frozen=True, slots=True)
class ScoringRound:
    """One sealed round, everything in the order of the contributors tree.

    Attributes
    ----------
    contributors, examples, weights, updates
        One entry each: address, signed (uncapped) number of examples, committed weight, update of
        shape ``(d,)`` int32.
    base_model
        Shape ``(d,)`` int32, the model the updates start from.
    rule
        The announced rule: kind, fault bound, examples cap, server learning rate and momentum.
    velocity
        Server momentum before this round, shape ``(d,)`` int32, or ``None``.
    seed
        32 bytes nobody could know when the updates were signed: a block hash.
    previous
        The round before: each contributor's update, empty for the first round.
    previous_step
        What the round before added to the model (base model minus the base model before), or
        ``None``.
    """

    contributors: Sequence[Address]
    examples: Sequence[int]
    weights: Sequence[int]
    updates: Sequence[Int32Vector]
    base_model: Int32Vector
    rule: Rule
    seed: bytes
    velocity: Int32Vector | None = None
    previous: Sequence[tuple[Address, Int32Vector]] = field(default=())
    previous_step: Int32Vector | None = None
