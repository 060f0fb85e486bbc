"""Notices nodes that answer an earlier instruction than the one they were handed last.

Flower's SuperNode takes one instruction at a time, so each reply it announces is to the last one it
was handed. One that answers another has come out of step: it passes every reply on when the round
of it is over, and is in none (ADR 0158). The SuperLink's guard sees both ends of it, and tells the
service through a small file. Only whoever runs the node can put it right.
"""

import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from coordinator.local.files import replace_file
from coordinator.protocol.errors import StoreError

NODES: Final = 4_096


class HandedInstruction(NamedTuple):
    """An instruction as the SuperLink hands it out: its number, and the node it is for."""

    message_id: str
    node_id: int


@dataclass(frozen=True, slots=True)
class OrderReport:
    """Who is out of step, in one life of the SuperLink.

    Attributes
    ----------
    late
        How many replies of each node were to an earlier instruction than its last.
    behind
        Nodes whose newest reply was one.
    """

    late: Mapping[int, int] = field(default_factory=dict)
    behind: frozenset[int] = frozenset()

    def write(self, path: Path) -> None:
        """Replace the file; a full disk only keeps the service from knowing."""
        stored = {"late": {str(n): k for n, k in self.late.items()}, "behind": sorted(self.behind)}
        with contextlib.suppress(OSError, StoreError):
            replace_file(path, [json.dumps(stored).encode()], sync=False)

    @classmethod
    def read(cls, path: Path) -> "OrderReport":
        """Read the file; nobody is out of step where there is none."""
        try:
            stored = json.loads(path.read_bytes())
            late = {int(node): int(count) for node, count in stored["late"].items()}
            return cls(late, frozenset(map(int, stored["behind"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()


@dataclass(slots=True)
class _Node:
    handed: HandedInstruction
    late_reply: str = ""


class InstructionOrder:
    """Compares replies with instructions; remembers the last :data:`NODES` nodes.

    Parameters
    ----------
    file
        Where a report is written when one changes; ``None`` for nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()
        self._late: dict[int, int] = {}
        self._behind: set[int] = set()
        self._write_report()

    @property
    def report(self) -> OrderReport:
        """Who is out of step."""
        return OrderReport(dict(self._late), frozenset(self._behind))

    def handed(self, key: bytes, instructions: Iterable[HandedInstruction]) -> None:
        """Note what a node, known by its key, is handed."""
        for instruction in instructions:
            node = self._nodes.setdefault(key, _Node(instruction))
            node.handed = instruction
            self._nodes.move_to_end(key)
        if len(self._nodes) > NODES:
            _, gone = self._nodes.popitem(last=False)
            self._late.pop(gone.handed.node_id, None)
            self._behind.discard(gone.handed.node_id)

    def answered(self, key: bytes, message_id: str) -> bool:
        """Note which instruction a node's reply is to; return whether that is its last.

        The same reply counts once. It is in step where nothing is known: what a SuperLink handed
        out in an earlier life, nobody remembers.
        """
        node = self._nodes.get(key)
        if node is None:
            return True
        node_id = node.handed.node_id
        if message_id == node.handed.message_id:
            if node_id in self._behind:
                self._behind.discard(node_id)
                self._write_report()
            return True
        if message_id != node.late_reply:
            node.late_reply = message_id
            self._late[node_id] = self._late.get(node_id, 0) + 1
            self._behind.add(node_id)
            self._write_report()
        return False

    def _write_report(self) -> None:
        if self._file is not None:
            self.report.write(self._file)
