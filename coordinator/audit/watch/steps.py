"""The possible next steps of a watcher in one of its cases, as plain values.

Not handled: deciding (``cases``) and sending (``sending``).
"""

from dataclasses import dataclass
from typing import Literal

from coordinator.protocol.disputes.cases import Evidence

Key = tuple[int, int, int, int]
"""Round, kind, index and chunk of a question: equal keys mean the same question."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until ``until`` (chain time, seconds), unless the coordinator answers before."""

    until: int


@dataclass(frozen=True, slots=True)
class DemandEntry:
    """Ask for one entry of the answered column; costs another deposit."""

    index: int


@dataclass(frozen=True, slots=True)
class End:
    """Call ``timeout``, which convicts, or ``close``, which gives the deposits to the winner."""

    function: Literal["timeout", "close"]


@dataclass(frozen=True, slots=True)
class Prove:
    """Refute the answered column."""

    evidence: Evidence


NextStep = Wait | DemandEntry | End | Prove
