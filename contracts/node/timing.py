"""When the next block is: by a clock that is given, or one block time after its parent.

Simulations give no clock, so that the same transactions make the same hashes. Every block is at
least a second after its parent, whatever the clock says.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from contracts.node.evm import BLOCK_TIME_S
from coordinator.protocol.errors import LedgerError

Clock = Callable[[], int]
"""Returns Unix time in whole seconds."""


def wall_clock() -> int:
    """Return Unix time in whole seconds."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class _Travel:
    """Time travel: a shift of the clock, and a time asked for the next block alone."""

    shift_s: int = 0
    next_timestamp: int | None = None


class BlockTimer:
    """Decides block times; development time travel included.

    Parameters
    ----------
    clock
        ``None`` for ``parent + block_time_s``.
    block_time_s
        Used where there is no clock.
    """

    def __init__(self, clock: Clock | None = None, block_time_s: int = BLOCK_TIME_S) -> None:
        self._clock = clock
        self._block_time_s = block_time_s
        self._travel = _Travel()

    def next_timestamp(self, parent_timestamp: int) -> int:
        """Return the time a block made now on ``parent_timestamp`` would have."""
        if self._travel.next_timestamp is not None:
            return self._travel.next_timestamp
        if self._clock is None:
            # Simulations must repeat their block hashes (ADR 0024).
            return parent_timestamp + self._block_time_s + self._travel.shift_s
        return max(parent_timestamp + 1, self._clock() + self._travel.shift_s)

    def block_made(self) -> None:
        """Forget what was asked for one block only."""
        kept = self._travel.shift_s if self._clock is not None else 0
        self._travel = _Travel(shift_s=kept)

    def increase(self, seconds: int) -> None:
        """Move the next block, and with a clock all later ones, ``seconds`` ahead."""
        if seconds < 0:
            raise LedgerError(f"time cannot go back: asked to increase by {seconds} s")
        self._travel = replace(self._travel, shift_s=self._travel.shift_s + seconds)

    def set_next(self, timestamp: int, parent_timestamp: int) -> None:
        """Fix the time of the next block.

        Raises
        ------
        LedgerError
            If it is not after the parent's.
        """
        if timestamp <= parent_timestamp:
            raise LedgerError(
                f"next block time {timestamp} is not after the head's, {parent_timestamp}"
            )
        self._travel = replace(self._travel, next_timestamp=timestamp)

    def save(self) -> _Travel:
        """Return the state of the time travel, for :meth:`restore`."""
        return self._travel

    def restore(self, saved: _Travel) -> None:
        """Go back to what :meth:`save` returned."""
        self._travel = saved
