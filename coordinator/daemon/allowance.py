"""How many replies a node may send: as many as it was given instructions.

A SuperLink keeps what is pushed until its run ends, and looks only whether a reply answers an
instruction that has none yet; each push that it does not keep leaves a row in its database. So the
guard counts: an instruction that is handed out allows one reply. The same reply may come again a
few times, as it does when an answer was lost on the way.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

AT_FIRST: Final = 8
"""Replies to instructions of the SuperLink's earlier life: nobody remembers how many those were."""
MOST: Final = 64
REPEATS: Final = 16
NODES: Final = 4_096


@dataclass(slots=True)
class _Node:
    left: int = AT_FIRST
    sent: OrderedDict[bytes, int] = field(default_factory=OrderedDict)


class Allowances:
    """Counts instructions and replies of nodes; remembers the last :data:`NODES` nodes."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()

    def give(self, node: bytes, instructions: int) -> None:
        """Allow a node as many replies more, up to :data:`MOST`."""
        found = self._node(node)
        found.left = min(MOST, found.left + instructions)

    def take(self, node: bytes, reply: bytes) -> bool:
        """Return whether a node may send a reply, known by its digest; then it has one less."""
        found = self._node(node)
        times = found.sent.get(reply)
        if times is not None:
            found.sent[reply] = times + 1
            return times < REPEATS
        if not found.left:
            return False
        found.left -= 1
        found.sent[reply] = 1
        if len(found.sent) > MOST:
            found.sent.popitem(last=False)
        return True

    def _node(self, node: bytes) -> _Node:
        found = self._nodes.setdefault(node, _Node())
        self._nodes.move_to_end(node)
        if len(self._nodes) > NODES:
            self._nodes.popitem(last=False)
        return found
