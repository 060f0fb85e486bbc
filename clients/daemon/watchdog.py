"""Detects a SuperNode that runs but no longer passes messages on.

If a ClientApp dies while it passes its reply on (machine stopped for a minute, process killed),
Flower's SuperNode waits for ever for the rest, and takes no more messages; its heartbeats go on, so
the coordinator sees it online. Only the participant can notice: a round is open, no message and no
process that passes one arrives, unlike in earlier rounds.
"""

import time
from collections.abc import Callable
from typing import Final

from coordinator.protocol.types import RoundId

PATIENCE_S: Final = 45.0
"""Seconds after a round's opening within which its message must arrive; Flower takes 6 to 10 s."""
SLOW: Final = 4
"""Factor on that time if a process for a message has started: a busy machine starts it slowly."""


class Watchdog:
    """Decides whether the SuperNode is stuck; the caller restarts it.

    Parameters
    ----------
    patience_s
        Seconds that a round may be open without a message.
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(
        self, patience_s: float = PATIENCE_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_s, self._monotonic = patience_s, monotonic
        self._heard_at: float | None = None
        self._round, self._seen_at = RoundId(0), 0.0
        self._given_up = RoundId(0)

    def heard(self) -> None:
        """Note that a train message arrived; may be called from any thread.

        A presence query does not count: a node that connects during a round trains in the next.
        """
        self._heard_at = self._monotonic()

    def is_stuck(
        self,
        open_round: RoundId,
        uptime_s: float,
        is_carrying: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Return whether to restart the SuperNode; true at most once per round.

        Parameters
        ----------
        open_round
            The round that is open now, 0 for none.
        uptime_s
            Seconds for which the SuperNode has been running.
        is_carrying
            Returns whether one of its processes may be about to pass us a message; called only if
            the round has been open for too long.
        """
        now = self._monotonic()
        if open_round != self._round:
            self._round, self._seen_at = open_round, now
        heard_at = self._heard_at
        if not open_round or open_round == self._given_up or heard_at is None:
            return False
        was_asked_in_this_life = heard_at >= now - uptime_s
        asked_since = heard_at >= self._seen_at
        open_s = now - self._seen_at
        if asked_since or not was_asked_in_this_life or open_s < self._patience_s:
            return False
        if open_s < SLOW * self._patience_s and is_carrying():
            return False
        self._given_up = open_round
        return True
