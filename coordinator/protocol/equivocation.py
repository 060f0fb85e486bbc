"""The error for two different updates that one contributor signed for one round, with both."""

from coordinator.protocol.errors import ContributorError
from coordinator.protocol.types import Signed, UpdateMessage


class EquivocationError(ContributorError):
    """A contributor signed a second, different update for the same round.

    ``evidence`` is both signed statements, the earlier first: enough for anyone to slash the bond.
    """

    def __init__(
        self,
        message: str,
        *,
        evidence: tuple[Signed[UpdateMessage], Signed[UpdateMessage]],
        code: str = "equivocation",
    ) -> None:
        first, second = evidence
        super().__init__(
            message,
            code=code,
            contributor=first.signer,
            round_id=first.statement.round_id,
            found=second.statement.update.hex(),
            expected=first.statement.update.hex(),
        )
        self.evidence = evidence
