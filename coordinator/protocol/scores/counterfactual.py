"""Models a round would have given with one update absent, or with its signs scrambled."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.rules import apply_step, chosen, server_step
from coordinator.protocol.rules.base import WeightedColumns
from coordinator.protocol.scores.scoring_round import ScoringRound
from coordinator.protocol.types import Int32Vector

Flips = NDArray[np.bool_]
"""Shape ``(d,)``: where a value changes its sign."""


class Counterfactuals(Protocol):
    """Models of one round; each is shape ``(d,)`` int32 or an ``AggregationError``."""

    def complete(self) -> Int32Vector:
        """Return the model with every update."""

    def without(self, i: int) -> Int32Vector:
        """Return the model without update ``i``."""

    def flipped(self, i: int, flips: Flips) -> Int32Vector:
        """Return the model with the signs of update ``i`` changed where ``flips`` says so."""


def counterfactuals(scored: ScoringRound) -> Counterfactuals:
    """Return the models of a round under its rule."""
    if isinstance(chosen(scored.rule).provability, WeightedColumns):
        return _WeightedMean(scored)
    return _AppliedAgain(scored)


def _model(scored: ScoringRound, delta: Int32Vector) -> Int32Vector:
    step, _ = server_step(
        delta, scored.velocity, scored.rule.server_lr_q16, scored.rule.server_momentum_q16
    )
    return apply_step(scored.base_model, step)


class _WeightedMean:
    """The others keep their weights: an absent update counts as zero."""

    def __init__(self, scored: ScoringRound) -> None:
        self._scored = scored
        self._sums = np.zeros(scored.base_model.shape, np.int64)
        for i in range(len(scored.updates)):
            self._sums += self._share(i)

    def _share(self, i: int) -> NDArray[np.int64]:
        return self._scored.updates[i].astype(np.int64) * int(self._scored.weights[i])

    def _from_sums(self, sums: NDArray[np.int64]) -> Int32Vector:
        # In range: the weights that stay are not negative and sum to at most 2**24.
        return _model(self._scored, ((sums + (1 << 23)) >> 24).astype(np.int32))

    def complete(self) -> Int32Vector:
        return self._from_sums(self._sums)

    def without(self, i: int) -> Int32Vector:
        return self._from_sums(self._sums - self._share(i))

    def flipped(self, i: int, flips: Flips) -> Int32Vector:
        share = self._share(i)
        share *= flips
        share <<= 1
        np.subtract(self._sums, share, out=share)
        # Except for the negative of -2**31, which has no int32.
        return self._from_sums(np.minimum(share, ((1 << 31) - 1) << 24))


class _AppliedAgain:
    """The rule is applied again to the others, with as much of the fault bound as they allow.

    Where weights count, the others share the absent one's in proportion to theirs.
    """

    def __init__(self, scored: ScoringRound) -> None:
        self._scored = scored
        self._rule = chosen(scored.rule)

    def _aggregate(self, updates: list[Int32Vector], present: list[int]) -> Int32Vector:
        if len(updates) < self._rule.rule.fewest(0):  # without the absent one there is no round
            return _model(self._scored, np.zeros_like(self._scored.base_model))
        bound = self._scored.rule.num_byzantine
        while bound > 0 and self._rule.rule.fewest(bound) > len(updates):
            bound -= 1
        delta = self._rule.aggregate(updates, self._weights(present), num_byzantine=bound)
        return _model(self._scored, delta)

    def _weights(self, present: list[int]) -> list[int]:
        scored = self._scored
        members = [scored.contributors[i] for i in present]
        if not self._rule.rule.takes_weights:  # as in a round, should the rule read them
            return apportion([1] * len(members), members)
        return apportion([scored.weights[i] for i in present], members)

    def complete(self) -> Int32Vector:
        everyone = list(range(len(self._scored.updates)))
        return self._aggregate(list(self._scored.updates), everyone)

    def without(self, i: int) -> Int32Vector:
        others = [j for j in range(len(self._scored.updates)) if j != i]
        return self._aggregate([self._scored.updates[j] for j in others], others)

    def flipped(self, i: int, flips: Flips) -> Int32Vector:
        updates = list(self._scored.updates)
        wide = updates[i].astype(np.int64)
        np.negative(wide, out=wide, where=flips)
        # The negative of -2**31 has no int32.
        updates[i] = np.minimum(wide, (1 << 31) - 1).astype(np.int32)
        return self._aggregate(updates, list(range(len(updates))))
