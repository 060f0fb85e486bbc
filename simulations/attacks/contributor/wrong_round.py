"""A signature for another round."""

from dataclasses import replace
from typing import Literal

from coordinator.protocol.types import RoundId, UpdateMessage
from simulations.attacks.contributor.base import AttackContext, ContributorAttack


class WrongRound(ContributorAttack):
    """Signs for the round before."""

    kind: Literal["wrong_round"]

    def change_statement(self, message: UpdateMessage, context: AttackContext) -> UpdateMessage:
        """Return the statement with its round one lower."""
        return replace(message, round_id=RoundId(message.round_id - 1))
