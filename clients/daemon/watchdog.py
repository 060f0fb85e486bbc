"""Notices a SuperNode that is alive and passes nothing on any more.

Flower's SuperNode waits for ever for the rest of a reply whose ClientApp died while it was handing
it over (machine stopped for a minute, process killed), and takes no message from then on; its
heartbeats go on, so that to the coordinator it is online. Only the participant can tell: a round
is open, it is asked nothing, and in earlier rounds it was.
"""

import time
from collections.abc import Callable
from typing import Final

from coordinator.core.types import RoundId

PATIENCE_S: Final = 45.0
"""How long a round may be open before its message must be here: Flower takes six to ten seconds."""


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

    def is_stuck(self, open_round: RoundId, uptime_s: float) -> bool:
        """Return whether to start the SuperNode again; at most once a round.

        Parameters
        ----------
        open_round
            The round that is open now, 0 for none.
        uptime_s
            How long the SuperNode has been running.
        """
        now = self._monotonic()
        if open_round != self._round:
            self._round, self._seen_at = open_round, now
        heard_at = self._heard_at
        if not open_round or open_round == self._given_up or heard_at is None:
            return False
        was_asked_in_this_life = heard_at >= now - uptime_s
        asked_since = heard_at >= self._seen_at
        if asked_since or not was_asked_in_this_life or now - self._seen_at < self._patience_s:
            return False
        self._given_up = open_round
        return True
