"""Finds a wrong step of a false column by bisection, entry by entry.

A coordinator that answered with a root is asked for single entries, the last one first. If that is
right, the column contradicts the committed result. Otherwise there is a right entry followed by a
wrong one between the first entry, which must be zero, and the last; bisection finds it with about
``log2(n)`` demands. Not handled: sending the demands (a watcher does).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coordinator.protocol.disputes.cases import Entry
from coordinator.protocol.disputes.columns import ZERO, Column

Outcome = Literal["demand", "first", "step", "last"]


@dataclass(frozen=True, slots=True)
class NextMove:
    """The next move in a case: demand entry ``index``, or prove a fault.

    ``"first"``: entry 0 is not zero. ``"step"``: entry ``index + 1`` does not follow from entry
    ``index``. ``"last"``: the last entry is right, so the committed result is wrong.
    """

    outcome: Outcome
    index: int


def next_move(expected: Column, answered_root: bytes, known: Mapping[int, Entry]) -> NextMove:
    """Return the next move in a case whose column has been answered.

    Parameters
    ----------
    expected
        The right column *for the order statistics in the answer* (``aggregate_column`` with
        ``claimed``), computed from the published updates.
    answered_root
        Root of the coordinator's column.
    known
        The entries of that column published so far, by index.

    Examples
    --------
    >>> right = Column(tuple((i, 0, 0, 0, 0) for i in range(5)))
    >>> wrong = Column(tuple((i + (i > 2), 0, 0, 0, 0) for i in range(5)))
    >>> known = {}
    >>> while (move := next_move(right, wrong.root, known)).outcome == "demand":
    ...     known[move.index] = wrong.entries[move.index]
    >>> move, sorted(known)
    (NextMove(outcome='step', index=2), [2, 3, 4])
    """
    n = len(expected.entries) - 1
    if answered_root == expected.root:
        return NextMove("last", n)
    if n not in known:
        return NextMove("demand", n)
    if known[n] == expected.entries[n]:
        return NextMove("last", n)
    right = max((i for i, entry in known.items() if entry == expected.entries[i]), default=0)
    wrong = min(i for i, entry in known.items() if i > right and entry != expected.entries[i])
    if wrong - right > 1:
        return NextMove("demand", (right + wrong) // 2)
    if right not in known:
        # All other entries are right, and only the first was assumed.
        return NextMove("demand", 0)
    if right == 0 and known[0] != ZERO:
        return NextMove("first", 0)
    return NextMove("step", right)
