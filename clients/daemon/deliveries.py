"""Notices a SuperNode that passes replies on one instruction late: by its log, and by what we get.

A SuperNode takes one instruction at a time: it receives it, waits for any reply, and sends what
there is. When it gives up an instruction that a ClientApp has in hand already (its run ended while
its receipt was being confirmed), the reply to that one is what it finds after the next instruction,
and so on for ever: each reply is sent when its round is over. Nobody is told, every round is
trained and signed, and the participant is in none (ADR 0158).

Two signs are exact, whatever the cause:

* its log says that it ignores an instruction whose run is over: a reply to it may be left;
* we are handed an instruction after it sent a reply for it, or after it received the next one.

Starting the SuperNode again, which is what helps, is the caller's.
"""

import threading
from collections import deque
from pathlib import Path
from typing import Final

from coordinator.flower.internals import (
    SUPERNODE_IGNORES,
    SUPERNODE_RECEIVES,
    SUPERNODE_SENDS,
    SUPERNODE_STARTS,
)

_REMEMBERED: Final = 8
"""Instructions whose order is known; a SuperNode has one at a time, two if it is behind."""
_PIECE_BYTES: Final = 1 << 20


class Deliveries:
    """Follows the log of one SuperNode; from any thread.

    Parameters
    ----------
    log
        What the SuperNode appends to. It may be emptied at any time: what was in it is then missed.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Forget what was: another SuperNode is being started."""
        with self._lock:
            self._forget()
            self._rest, self._offset = b"", self._size()

    def handed(self, message_id: str) -> None:
        """Note that we are handed an instruction; call it before it is answered."""
        with self._lock:
            self._read()
            if message_id not in self._received:
                return  # of an earlier SuperNode, or its line is lost
            if message_id != self._received[-1]:
                self._problem = "it received another instruction before it passed this one on"
            elif self._has_sent:
                self._problem = "it sent the reply to an earlier instruction after the newest"

    def problem(self) -> str:
        """Return why the SuperNode is out of step; empty if it is not, as far as one can see."""
        with self._lock:
            self._read()
            return self._problem

    def _forget(self) -> None:
        self._received: deque[str] = deque(maxlen=_REMEMBERED)
        self._has_sent = False
        self._problem = ""

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _read(self) -> None:
        """Read what was written since the last time, whole lines only."""
        if self._size() < self._offset:
            self._offset, self._rest = 0, b""  # it was emptied
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                while piece := file.read(_PIECE_BYTES):
                    self._offset += len(piece)
                    *lines, self._rest = (self._rest + piece).split(b"\n")
                    for line in lines:
                        self._take(line.decode(errors="replace"))
        except OSError:
            return  # it is looked at again

    def _take(self, line: str) -> None:
        if SUPERNODE_STARTS in line:
            self._forget()  # it ended by itself, and what it held is gone
        elif match := SUPERNODE_RECEIVES.search(line):
            self._received.append(match[1])
            self._has_sent = False
        elif SUPERNODE_SENDS.search(line):
            self._has_sent = True
        elif match := SUPERNODE_IGNORES.search(line):
            # it may have given it up before a ClientApp could see it: starting again does no harm
            self._problem = f"it gave up instruction {match[1][:16]} of a run that is over"
