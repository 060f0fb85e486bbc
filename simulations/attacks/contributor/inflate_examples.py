"""A contributor that reports too many examples."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from coordinator.protocol.types import UpdateMessage
from simulations.attacks.contributor.base import AttackContext, ContributorAttack


class InflateExamples(ContributorAttack):
    """Claims to have trained on ``examples`` examples, to weigh more than its share."""

    kind: Literal["inflate_examples"]
    examples: int = Field(default=1_000_000_000, ge=1, lt=2**63)

    def change_statement(self, message: UpdateMessage, context: AttackContext) -> UpdateMessage:
        """Return the statement with the claimed count."""
        return replace(message, examples=self.examples)
