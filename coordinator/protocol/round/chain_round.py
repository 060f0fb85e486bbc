"""One round as the federation contract stores it; every side of the system reads this record.

Not handled here: how the record is read (``contracts.binding``, ``coordinator.ledger``), and the
coordinator's own state of a round that is going on (``machine``).
"""

from dataclasses import dataclass
from enum import IntEnum

from coordinator.protocol.types import RoundId, Wei

NO_ROOT = bytes(32)
"""What the contract stores in place of a root that is not committed yet."""


VOID_REASON_BYTES = 32
"""How many ASCII characters of a void round's reason the contract keeps."""


class RoundStatus(IntEnum):
    """The contract's status numbers, in the order in which a round passes through them.

    The contract computes the status, so a round above a voided one is VOID too; an open round
    past its deadline stays OPEN until somebody records that it expired.
    """

    NONE = 0
    OPEN = 1
    SEALED = 2
    SETTLED = 3
    FINAL = 4
    VOID = 5

    @property
    def word(self) -> str:
        """The status as reports, JSON and messages write it, in lower case."""
        return self.name.lower()

    @property
    def has_result(self) -> bool:
        """Whether a round of this status has a committed result that counts."""
        return self in (RoundStatus.SEALED, RoundStatus.SETTLED, RoundStatus.FINAL)

    @property
    def is_disputable(self) -> bool:
        """Whether a round of this status may still be voided by a proof of fraud."""
        return self in (RoundStatus.SEALED, RoundStatus.SETTLED)

    @classmethod
    def from_word(cls, word: str) -> "RoundStatus":
        """Return the status that is written as ``word``.

        Raises
        ------
        ValueError
            If there is no such status; names the ones there are.

        Examples
        --------
        >>> RoundStatus.from_word("sealed")
        <RoundStatus.SEALED: 2>
        """
        for status in cls:
            if status.word == word:
                return status
        known = ", ".join(status.word for status in cls)
        raise ValueError(f"round status {word!r}, expected one of {known}")


@dataclass(frozen=True, slots=True)
class Seal:
    """What seals a round: its contributors and its result; roots 32 bytes, stake in wei.

    ``n`` contributors; ``total_examples`` after each one's count was capped by the rule. Fields
    are in the order of the contract's arguments, here and in :class:`Settlement`.
    """

    contributors_root: bytes
    n: int
    total_examples: int
    total_stake_wei: Wei
    new_model_root: bytes


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settles a round: its scores and everyone's cumulative rewards after it.

    Roots are 32 bytes; ``paid_wei`` is what this round adds to all rewards together.
    """

    scores_root: bytes
    total_score: int
    rewards_root: bytes
    paid_wei: Wei


@dataclass(frozen=True, slots=True)
class ChainRound:
    """One round as the contract stores it; what has not happened yet is zero.

    Fields are in the order of the contract's ``record`` view. Roots and hashes are 32 bytes,
    amounts wei, times seconds of chain time.

    Attributes
    ----------
    parent, height
        The round below (0 for none) and the number of live rounds up to and with this one.
    member_count
        Members when the round opened: the first so many in order of joining.
    budget_wei, pledged_cum_wei
        What the round may pay at most; what it and the live rounds below may take together.
    commitments_root, commitments_count
        Zero in a round that takes no commitments, or whose commitments are not closed yet.
    seal_block
        Number of the block that sealed the round; its hash is the seed of the scores.
    held_until
        The round is not final before this second, because of a dispute.
    finalizable_at
        ``None`` until the round is settled, then the first second at which it may be made final
        (once its parent is) and no longer be convicted.
    """

    round_id: RoundId
    status: RoundStatus
    model_root: bytes = NO_ROOT
    rule_hash: bytes = NO_ROOT
    opened_at: int = 0
    deadline: int = 0
    parent: RoundId = RoundId(0)
    height: int = 0
    member_count: int = 0
    budget_wei: Wei = Wei(0)
    pledged_cum_wei: Wei = Wei(0)
    commitments_root: bytes = NO_ROOT
    commitments_count: int = 0
    contributors_root: bytes = NO_ROOT
    n: int = 0
    total_examples: int = 0
    total_stake_wei: Wei = Wei(0)
    new_model_root: bytes = NO_ROOT
    sealed_at: int = 0
    seal_block: int = 0
    scores_root: bytes = NO_ROOT
    total_score: int = 0
    rewards_root: bytes = NO_ROOT
    paid_wei: Wei = Wei(0)
    settled_at: int = 0
    held_until: int = 0
    finalizable_at: int | None = None

    @property
    def seal(self) -> Seal:
        """What sealed the round; zeros and zero roots before."""
        return Seal(
            self.contributors_root,
            self.n,
            self.total_examples,
            self.total_stake_wei,
            self.new_model_root,
        )

    @property
    def settlement(self) -> Settlement:
        """What settled the round; zeros and zero roots before."""
        return Settlement(self.scores_root, self.total_score, self.rewards_root, self.paid_wei)

    @property
    def is_settled(self) -> bool:
        """Whether scores and rewards are committed, whatever became of the round since."""
        return self.settled_at > 0

    def can_be_final(self, now: int) -> bool:
        """Whether the challenge window is over at chain time ``now``."""
        return self.finalizable_at is not None and now >= self.finalizable_at
