"""ATTACK: one parameter of the new model is wrong."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from coordinator.protocol.disputes.cases import CaseKind, Entry
from coordinator.protocol.disputes.columns import Column, aggregate_column, columns_of, wrapped
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.rules.base import WeightedColumns
from coordinator.protocol.types import WEIGHT_TOTAL, RoundInput
from simulations.attacks.coordinator.base import (
    Answer,
    CoordinatorAttack,
    CoordinatorContext,
    PublishedRound,
)


class ShiftParameter(CoordinatorAttack):
    """Adds ``amount`` units in the last place to one parameter of the new model.

    ``answers`` is the coordinator's answer to a question for the parameter's column: the right one,
    a false one that leads to its result, or none.
    """

    kind: Literal["shift_parameter"]
    parameter: int = Field(default=0, ge=0)
    amount: int = Field(default=1)
    answers: Literal["right", "false", "none"] = "right"

    def change_result(self, result: RoundInput, context: CoordinatorContext) -> RoundInput:
        """Return the result with the parameter shifted.

        Raises
        ------
        ConfigError
            If the model has no such parameter.
        """
        if self.parameter >= result.new_model.size:
            raise ConfigError(
                f"coordinator_attacks: parameter = {self.parameter}, but the model has "
                f"{result.new_model.size} parameters"
            )
        shifted = result.new_model.copy()
        shifted[self.parameter] += self.amount
        return replace(result, new_model=shifted, new_model_root=context.root_of(shifted))

    def answer(self, published: PublishedRound, kind: CaseKind, index: int) -> Answer:
        """Return the answer that ``answers`` selects; other questions are not answered."""
        if self.answers == "right":
            return "right"
        if self.answers == "none" or kind is not CaseKind.AGGREGATE:
            return "none"
        return false_column(published, index, self.amount)


def false_column(published: PublishedRound, parameter: int, amount: int) -> Column:
    """Return a column with a false step, which leads to a result that is ``amount`` too large."""
    rule, entries = published.known_rule, published.known_entries
    weights = [entry.leaf.weight for entry in entries]
    values = [int(published.update(i)[parameter]) for i in range(len(entries))]
    if not isinstance(columns_of(rule), WeightedColumns):
        return aggregate_column(rule, weights, [value + amount for value in values])
    right = aggregate_column(rule, weights, values).entries
    half = len(right) // 2
    false = [_raised(entry, amount) if i >= half else entry for i, entry in enumerate(right)]
    return Column(tuple(false))


def _raised(entry: Entry, amount: int) -> Entry:
    return (wrapped(entry[0] + amount * WEIGHT_TOTAL), *entry[1:])
