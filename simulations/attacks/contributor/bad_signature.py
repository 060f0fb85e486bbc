"""A signature that does not belong to its message."""

from dataclasses import replace
from typing import Literal

from simulations.attacks.contributor.base import AttackContext, ContributorAttack, Reply


class BadSignature(ContributorAttack):
    """Sends a signature that is not its own."""

    kind: Literal["bad_signature"]

    def change_reply(self, reply: Reply, context: AttackContext) -> Reply:
        """Return the signature with one bit of *r* flipped."""
        return replace(reply, signature=bytes([reply.signature[0] ^ 1]) + reply.signature[1:])
