"""Disputes, without a chain: what is wrong with a round, and how it is proven.

``find_faults`` names what is wrong, ``moves_against`` builds what proves it; ``answer_to`` is what
an honest coordinator replies; ``next_move`` finds the one wrong step of a false column. The
contracts that judge are in ``contracts/src/referee``; ``contracts.binding.referee`` sends all this
to them.
"""

from coordinator.protocol.disputes.answers import answer_to, column_of
from coordinator.protocol.disputes.bisection import NextMove, next_move
from coordinator.protocol.disputes.cases import (
    CaseKind,
    ColumnAnswer,
    Entry,
    Evidence,
    Move,
    OpenCase,
    ProvenEntry,
    Question,
)
from coordinator.protocol.disputes.columns import Column
from coordinator.protocol.disputes.fault import Fault, FaultKind
from coordinator.protocol.disputes.faults import find_faults, moves_against
from coordinator.protocol.disputes.records import DisputedRound

__all__ = [
    "CaseKind",
    "Column",
    "ColumnAnswer",
    "DisputedRound",
    "Entry",
    "Evidence",
    "Fault",
    "FaultKind",
    "Move",
    "NextMove",
    "OpenCase",
    "ProvenEntry",
    "Question",
    "answer_to",
    "column_of",
    "find_faults",
    "moves_against",
    "next_move",
]
