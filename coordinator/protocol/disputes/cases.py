"""The messages of a dispute between watcher, referee and coordinator: questions, answers, proofs.

Plain values, in the order of the contract's parameters: ``contracts.binding.referee`` encodes them
by the function's name. Not handled: choosing a question (``faults``), building it (``moves``), and
answering (``answers``).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from coordinator.protocol.types import ContributorLeaf, RoundId, Rule, ScoreLeaf

Entry = tuple[int, int, int, int, int]
"""One entry of a column: five signed words, -2^255 to 2^255 - 1."""

Proof = tuple[bytes, ...]


class CaseKind(IntEnum):
    """The kind of question in a case; the numbers are the contract's."""

    AGGREGATE = 1
    TOTALS = 2
    PAYMENTS = 3
    RULE = 4
    CONTRIBUTOR = 5
    UPDATE = 6
    BASE_MODEL = 7
    NEW_MODEL = 8
    SCORE = 9
    REWARD = 10

    @property
    def is_column(self) -> bool:
        """Whether the answer is a column's root, and not committed data."""
        return self <= CaseKind.PAYMENTS


@dataclass(frozen=True, slots=True)
class Evidence:
    """A call of an examiner's function; ``tail`` is raw data appended to the arguments."""

    function: str
    arguments: tuple[Any, ...]
    tail: bytes = b""


@dataclass(frozen=True, slots=True)
class Question:
    """A call of the referee that opens a case; it costs a deposit."""

    function: str
    arguments: tuple[Any, ...]


Move = Evidence | Question


def rule_words(rule: Rule) -> tuple[Any, ...]:
    """Return the contract's ``Rule`` struct."""
    return tuple(getattr(rule, name) for name in Rule.__dataclass_fields__)


def leaf_words(leaf: ContributorLeaf) -> tuple[Any, ...]:
    """Return the contract's ``Leaf`` struct."""
    return tuple(getattr(leaf, name) for name in ContributorLeaf.__dataclass_fields__)


def score_words(leaf: ScoreLeaf) -> tuple[Any, ...]:
    """Return the contract's ``Score`` struct."""
    return (leaf.round_id, leaf.contributor, leaf.score)


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """One entry of an answered column, as the coordinator published it."""

    entry: Entry
    path: Proof


@dataclass(frozen=True, slots=True)
class OpenCase:
    """A question that waits for the coordinator's answer.

    ``index`` and ``chunk`` are the question's; ``entry`` is the index of a demanded entry of a
    column that has been answered, ``None`` if the question is about the column or data itself.
    """

    case_id: int
    round_id: RoundId
    kind: CaseKind
    index: int
    chunk: int
    entry: int | None


@dataclass(frozen=True, slots=True)
class ColumnAnswer:
    """The arguments of ``answer_column``."""

    case_id: int
    root: bytes
    lo: int
    hi: int
