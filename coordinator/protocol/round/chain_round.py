"""One round as the federation contract stores it; all parts of the system use this record.

Not handled: reading the record from the chain (``contracts.binding``, ``coordinator.ledger``), and
the coordinator's own state of a running round (``machine``).
"""

from dataclasses import dataclass
from enum import IntEnum

from coordinator.protocol.types import RoundId, Wei

NO_ROOT = bytes(32)
"""The contract's value for a root that is not committed yet."""


VOID_REASON_BYTES = 32
"""Number of ASCII characters of a void round's reason that the contract keeps."""


class RoundStatus(IntEnum):
    """The contract's status numbers, in the order in which a round passes through them.

    The contract computes the status, so a round that builds on a voided one is VOID too; an open
    round past its deadline stays OPEN until a transaction records that it expired.
    """

    NONE = 0
    OPEN = 1
    SEALED = 2
    SETTLED = 3
    FINAL = 4
    VOID = 5

    @property
    def word(self) -> str:
        """The status in lower case, as in reports, JSON and messages."""
        return self.name.lower()

    @property
    def has_result(self) -> bool:
        """Whether a round of this status has a valid committed result."""
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
            If there is no such status; the message lists the known ones.

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
    """The arguments that seal a round: its contributors and its result.

    Roots are 32 bytes, stakes in wei. ``n`` is the number of contributors; ``total_examples`` sums
    their counts after the rule's cap. Fields are in the order of the contract's arguments, here and
    in :class:`Settlement`.
    """

    contributors_root: bytes
    n: int
    total_examples: int
    total_stake_wei: Wei
    new_model_root: bytes


@dataclass(frozen=True, slots=True)
class Settlement:
    """The arguments that settle a round: its scores and all cumulative rewards after it.

    Roots are 32 bytes; ``paid_wei`` is the sum of this round's rewards.
    """

    scores_root: bytes
    total_score: int
    rewards_root: bytes
    paid_wei: Wei


@dataclass(frozen=True, slots=True)
class ChainRound:
    """One round as the contract stores it; fields that are not set yet are zero.

    Fields are in the order of the contract's ``record`` view. Roots and hashes are 32 bytes,
    amounts wei, times seconds of chain time.

    Attributes
    ----------
    parent, height
        The round it builds on (0 for none), and the number of live rounds up to this one.
    member_count
        Number of members when the round opened: the first ones in order of joining.
    budget_wei, pledged_cum_wei
        The most that the round may pay; the same for it and all live rounds below it together.
    commitments_root, commitments_count
        Zero if the round takes no commitments, or they are not closed yet.
    seal_block
        Number of the block that sealed the round; its hash is the seed of the scores.
    held_until
        The round is not final before this second, because of a dispute.
    finalizable_at
        ``None`` until the round is settled; then the first second at which it may be made final
        (once its parent is) and can no longer be convicted.
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
        """The seal of the round; zeros and zero roots before it is sealed."""
        return Seal(
            self.contributors_root,
            self.n,
            self.total_examples,
            self.total_stake_wei,
            self.new_model_root,
        )

    @property
    def settlement(self) -> Settlement:
        """The settlement of the round; zeros and zero roots before it is settled."""
        return Settlement(self.scores_root, self.total_score, self.rewards_root, self.paid_wei)

    @property
    def is_settled(self) -> bool:
        """Whether scores and rewards were committed, even if the round was voided since."""
        return self.settled_at > 0

    def can_be_final(self, now: int) -> bool:
        """Whether the challenge window is over at chain time ``now``."""
        return self.finalizable_at is not None and now >= self.finalizable_at
