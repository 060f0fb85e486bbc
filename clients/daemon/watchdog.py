"""Notices a SuperNode that is alive and passes nothing on any more.

Flower's SuperNode waits for ever for the rest of a reply whose ClientApp died while it was handing
it over (machine stopped for a minute, process killed), and takes no message from then on; its
heartbeats go on, so that to the coordinator it is online. Only the participant can tell: a round
is open, it is asked nothing, no process hands it a message, and in earlier rounds it was.
"""

import time
from collections.abc import Callable
from typing import Final

from coordinator.protocol.types import RoundId

PATIENCE_S: Final = 45.0
"""How long a round may be open before its message must be here: Flower takes six to ten seconds."""
SLOW: Final = 4
"""So many times as long if a message is on its way here: a busy machine starts programs slowly."""


class Watchdog:
    """Decides; starting the SuperNode again is the caller's.

    Parameters
    ----------
    patience_s
        How long an open round may bring nothing.
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
        """Note that we were asked to train; from any thread.

        A hello does not count: who comes while a round is under way is asked in the next.
        """
        self._heard_at = self._monotonic()

    def is_stuck(
        self,
        open_round: RoundId,
        uptime_s: float,
        is_carrying: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Return whether to start the SuperNode again; at most once a round.

        Parameters
        ----------
        open_round
            The round that is open now, 0 for none.
        uptime_s
            How long the SuperNode has been running.
        is_carrying
            Whether a process of its runs that may be about to hand us a message; asked only where
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
