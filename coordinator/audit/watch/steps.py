"""What a watcher may do next about one of its cases, as plain values.

Not handled: deciding (``cases``) and sending (``sending``).
"""

from dataclasses import dataclass
from typing import Literal

from coordinator.protocol.disputes.cases import Evidence

Key = tuple[int, int, int, int]
"""Round, kind, index and chunk of a question: what makes two of them the same."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until`` (chain time), unless the coordinator answers."""

    until: int


@dataclass(frozen=True, slots=True)
class DemandEntry:
    """Ask for one entry of the answered column; costs another deposit."""

    index: int


@dataclass(frozen=True, slots=True)
class End:
    """Call ``timeout`` (convicts) or ``close`` (gives deposits to whoever was right)."""

    function: Literal["timeout", "close"]


@dataclass(frozen=True, slots=True)
class Prove:
    """Refute the answered column."""

    evidence: Evidence


NextStep = Wait | DemandEntry | End | Prove
