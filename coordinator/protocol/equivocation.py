"""The error that carries its own evidence: two statements of one contributor for one round."""

from coordinator.protocol.errors import ContributorError
from coordinator.protocol.types import Signed, UpdateMessage


class EquivocationError(ContributorError):
    """A second, different update was signed for the same round by the same contributor.

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
