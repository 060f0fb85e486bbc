"""How long a store may not answer before a watcher treats its artifacts as withheld.

Asking on chain costs deposits, so a server that is down for a minute must not count as fraud; but a
coordinator that answers 503 on purpose must still be asked in time. Times are chain time, like the
windows. Not handled: single missing artifacts, which count as withheld at once.
"""

from typing import Final

from coordinator.protocol.errors import StoreError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId

PATIENCE_SHARE: Final = 4
"""A store may be unavailable for one part in this many of the challenge window: a quarter."""
LATEST_SHARE: Final = 2
"""After one part in this many of a round's window, a half, it may not be unavailable at all."""


class Outages:
    """Rounds that could not be read because the store does not answer.

    Parameters
    ----------
    window_s
        The federation's challenge window, in seconds.
    patience_s
        Seconds to wait; ``None`` for a quarter of the window, which is also the maximum.
    """

    def __init__(self, window_s: int, patience_s: int | None = None) -> None:
        most = window_s // PATIENCE_SHARE
        self._window_s = window_s
        self._patience_s = most if patience_s is None else min(patience_s, most)
        self._since: dict[RoundId, int] = {}
        self._counted: set[RoundId] = set()
        self.errors: dict[RoundId, StoreError] = {}
        """Why rounds could not be read at the last look."""

    def begin(self, state: ChainRound, error: StoreError, now: int) -> bool:
        """Note that a round could not be read; return whether it could be before."""
        is_new = state.round_id not in self._since
        self._since.setdefault(state.round_id, now)
        self.errors[state.round_id] = error
        return is_new

    def counts_from(self, state: ChainRound) -> int:
        """Return the chain time from which a round that cannot be read counts as withheld."""
        borne = self._since[state.round_id] + self._patience_s
        if not state.settled_at:
            return borne
        return min(borne, state.settled_at + self._window_s // LATEST_SHARE)

    def count(self, round_id: RoundId) -> bool:
        """Note that a round counts as withheld now; return whether it did not before."""
        is_new = round_id not in self._counted
        self._counted.add(round_id)
        return is_new

    def end(self, round_id: RoundId) -> None:
        """Note that a round could be read, or is no longer watched."""
        self._since.pop(round_id, None)
        self.errors.pop(round_id, None)
        self._counted.discard(round_id)

    def keep(self, live: set[RoundId]) -> None:
        """Forget the rounds that are no longer live."""
        for round_id in set(self._since) - live:
            self.end(round_id)
