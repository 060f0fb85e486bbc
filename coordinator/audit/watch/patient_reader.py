"""Reads rounds for a watcher: keeps what proves a fault, and bears with a store that is away.

A round in which something is wrong is read until nothing of it is missing, and then kept: what its
coordinator takes back afterwards is still known. Not handled: judging, and what is shown on chain
(``published``).
"""

from contracts.binding.reader import FederationReader
from contracts.binding.rpc import next_time
from coordinator.audit.watch.findings import Notice, Tell
from coordinator.audit.watch.outage import Outages
from coordinator.audit.watch.rounds import RoundReader, is_complete
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import StoreError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import RoundId


class RetryingReader:
    """Reads the rounds of one federation, again and again.

    Parameters
    ----------
    patience_s
        How long a store may not answer; ``None`` for a quarter of the challenge window.
    tell
        Hears of a store that does not answer, once a round.
    """

    def __init__(
        self, federation: FederationReader, rounds: RoundReader, patience_s: int | None, tell: Tell
    ) -> None:
        self._federation, self._rounds, self._tell = federation, rounds, tell
        self._outages = Outages(federation.terms.challenge_window_s, patience_s)
        self._kept: dict[tuple[RoundId, RoundStatus], DisputedRound] = {}

    @property
    def unread(self) -> dict[RoundId, StoreError]:
        """Live rounds whose store did not answer at the last look, and why."""
        return self._outages.errors

    def read(self, state: ChainRound) -> DisputedRound | None:
        """Return a round; ``None`` while its store does not answer and that is borne with."""
        kept = self._kept.get((state.round_id, state.status))
        if kept is not None:
            return kept
        try:
            round_ = self._rounds.read(state.round_id)
        except StoreError as away:
            return self._without_store(state, away)
        self._outages.end(state.round_id)
        return round_

    def read_now(self, round_id: RoundId, status: RoundStatus) -> DisputedRound:
        """Return what is to be had of a round, where an answer to a question waits only so long."""
        kept = self._kept.get((round_id, status))
        round_ = kept or self._rounds.read(round_id, without_store=True)
        if is_complete(round_):
            return round_
        return self._kept.get((round_id, RoundStatus.SEALED), round_)

    def keep(self, state: ChainRound, round_: DisputedRound) -> None:
        """Keep a round in which something is wrong, if nothing of it is missing."""
        if is_complete(round_):
            self._kept[state.round_id, state.status] = round_

    def keep_only(self, live: set[RoundId]) -> None:
        """Forget the rounds that are not live any more."""
        self._kept = {key: round_ for key, round_ in self._kept.items() if key[0] in live}
        self._outages.keep(live)

    def _without_store(self, state: ChainRound, away: StoreError) -> DisputedRound | None:
        now = next_time(self._federation.rpc)
        is_new = self._outages.begin(state, away, now)
        left = self._outages.counts_from(state) - now
        if left > 0:
            if is_new:
                self._say(state.round_id, f"{away}; counts as withholding if that lasts {left} s")
            return None
        if self._outages.count(state.round_id):
            self._say(state.round_id, f"{away}; counts as withholding now")
        return self._rounds.read(state.round_id, without_store=True)

    def _say(self, round_id: RoundId, text: str) -> None:
        self._tell(Notice("unreachable", int(round_id), text))
