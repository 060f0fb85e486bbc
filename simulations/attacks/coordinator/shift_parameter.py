"""ATTACK: one parameter of the new model is wrong."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.disputes import CaseKind, Column, DisputedRound
from coordinator.protocol.disputes.cases import Entry
from coordinator.protocol.disputes.columns import aggregate_column, wrapped
from coordinator.protocol.disputes.moves import parameter_values
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.rules.rule import RuleKind
from coordinator.protocol.types import WEIGHT_TOTAL, RoundInput
from simulations.attacks.coordinator.base import Answer, CoordinatorAttack
from simulations.attacks.coordinator.forging import CoordinatorContext


class ShiftParameter(CoordinatorAttack):
    """Adds ``amount`` units in the last place to one parameter of the new model.

    ``answers`` is what the coordinator does when asked for the parameter's column: shows the right
    one, a false one that leads to its result, or nothing.
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
        root = parameter_root(shifted, context.plan.manifest)
        return replace(result, new_model=shifted, new_model_root=root)

    def answer(self, disputed: DisputedRound, kind: CaseKind, index: int) -> Answer:
        """Return what ``answers`` says; other questions than for a column are not answered."""
        if self.answers == "right":
            return "right"
        if self.answers == "none" or kind is not CaseKind.AGGREGATE:
            return "none"
        return false_column(disputed, index, self.amount)


def false_column(disputed: DisputedRound, parameter: int, amount: int) -> Column:
    """Return a column that leads to a result ``amount`` too large; some step in it is false."""
    rule, values = disputed.known_rule, parameter_values(disputed, parameter)
    weights = [entry.leaf.weight for entry in disputed.known_entries]
    if rule.kind != RuleKind.FEDAVG:
        return aggregate_column(rule, weights, [value + amount for value in values])
    right = aggregate_column(rule, weights, values).entries
    half = len(right) // 2
    false = [_raised(entry, amount) if i >= half else entry for i, entry in enumerate(right)]
    return Column(tuple(false))


def _raised(entry: Entry, amount: int) -> Entry:
    return (wrapped(entry[0] + amount * WEIGHT_TOTAL), *entry[1:])
