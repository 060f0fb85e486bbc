"""The kinds of fault.

A fault says what is wrong and where; ``faults.moves_against`` says how to prove it.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum

from coordinator.protocol.canonical import canonical_json

EXAMPLES_SCORING = hashlib.sha256(canonical_json({"kind": "examples"})).digest()
"""The ``scoring_hash`` of the one scoring rule that a contract computes."""


class FaultKind(Enum):
    """Kinds of fault, each with the meaning of ``place`` and ``other`` of a :class:`Fault`."""

    RULE_WITHHELD = "rule withheld"
    RULE_INVALID = "invalid rule"
    CONTRIBUTOR_WITHHELD = "contributor withheld"
    """``place``: index of a contributor."""
    LEAF = "wrong leaf"
    """``place``: position of the leaf."""
    SIGNATURE = "invalid signature"
    """``place``: position of the leaf."""
    PAIR = "contradicting leaves"
    """``place`` and ``other``: positions of the leaves."""
    TOTALS = "wrong totals"
    BASE_MODEL_WITHHELD = "base model withheld"
    """``place``: chunk."""
    NEW_MODEL_WITHHELD = "new model withheld"
    """``place``: chunk."""
    UPDATE_WITHHELD = "update withheld"
    """``place``: index of the contributor, ``other``: chunk."""
    AGGREGATE = "wrong aggregate"
    """``place``: parameter; ``other``: number of wrong parameters."""
    SCORE_WITHHELD = "score withheld"
    """``place``: index of the contributor."""
    SCORE = "wrong score"
    """``place``: position of the contributor's leaf, ``other``: in the scores tree."""
    SCORE_FORM = "malformed score"
    """``place``: position in the scores tree."""
    SCORE_PAIR = "two scores"
    """``place`` and ``other``: positions in the scores tree."""
    SCORE_STRAY = "stray score"
    """``place``: position in the scores tree."""
    PAYMENTS = "wrong payments"
    REWARD_WITHHELD = "reward withheld"
    """``place``: number of the member, from 1."""
    REWARD = "wrong reward"
    """``place``: position in the rewards tree."""
    REWARD_OUTSIDER = "reward of an outsider"
    """``place``: position in the rewards tree."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a round; ``detail`` is for people."""

    kind: FaultKind
    detail: str
    place: int = 0
    other: int = 0

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}"
