"""Block times: from a clock, or one block time after the parent.

Simulations have no clock, so that the same transactions give the same hashes (ADR 0024). A block is
at least one second after its parent, even if the clock is behind.
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
    """Time travel: a shift of the clock, and a time for the next block only."""

    shift_s: int = 0
    next_timestamp: int | None = None


class BlockTimer:
    """Chooses block times, with time travel for development.

    Parameters
    ----------
    clock
        ``None`` for ``parent + block_time_s``.
    block_time_s
        Seconds between blocks without a clock.
    """

    def __init__(self, clock: Clock | None = None, block_time_s: int = BLOCK_TIME_S) -> None:
        self._clock = clock
        self._block_time_s = block_time_s
        self._travel = _Travel()

    def next_timestamp(self, parent_timestamp: int) -> int:
        """Return the time of a block if it were built now on ``parent_timestamp``."""
        if self._travel.next_timestamp is not None:
            return self._travel.next_timestamp
        if self._clock is None:
            # Simulations must repeat their block hashes (ADR 0024).
            return parent_timestamp + self._block_time_s + self._travel.shift_s
        return max(parent_timestamp + 1, self._clock() + self._travel.shift_s)

    def block_made(self) -> None:
        """Reset the settings that are for one block only."""
        shift_s = self._travel.shift_s if self._clock is not None else 0
        self._travel = _Travel(shift_s=shift_s)

    def increase(self, seconds: int) -> None:
        """Move the next block, and with a clock all later ones, ``seconds`` ahead."""
        if seconds < 0:
            raise LedgerError(f"time cannot go back: increase of {seconds} s")
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
        """Restore the state that :meth:`save` returned."""
        self._travel = saved
