"""Disputes without a chain: finds the faults of a round, and builds their proofs.

``find_faults`` lists the faults, ``moves_against`` builds proofs and questions about one;
``answer_to`` gives an honest coordinator's answer; ``next_move`` finds the wrong step of a false
column. The judging contracts are in ``contracts/src/referee``; ``contracts.binding.referee`` sends
the moves to them.
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
