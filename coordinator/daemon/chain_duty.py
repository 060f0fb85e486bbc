"""Answers, deposits and finality: looked at when a block has come or a time has, not all the time.

A question to the coordinator, a conviction, a settled round: each is a new block. What happens
without one is only that a window ends, and when that is, is known.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from coordinator.answer.responder import Responder
from coordinator.local.logs import fields
from coordinator.ports import Ledger
from coordinator.service import RoundService

_LONGEST_S: Final = 30.0
_SHORTEST_S: Final = 0.2
_ANSWERS: Final = 8
"""So many looks fit into the time there is to answer."""
_log = logging.getLogger("fedproof.coordinator")


class ChainDuty:
    """What the coordinator owes the chain.

    Parameters
    ----------
    block_number
        Of the newest block; asked at each step, so it should be cheap.
    answer_s
        The contract's time to answer a question of a dispute.
    lock
        Held by whoever uses ``rounds``.
    """

    def __init__(
        self,
        rounds: RoundService,
        responder: Responder,
        ledger: Ledger,
        block_number: Callable[[], int],
        answer_s: int,
        lock: threading.RLock,
    ) -> None:
        self._rounds, self._responder, self._ledger = rounds, responder, ledger
        self._block_number, self._lock = block_number, lock
        self._longest_s = max(_SHORTEST_S, min(_LONGEST_S, answer_s / _ANSWERS))
        self._seen = -1
        self._next = 0.0
        self._final = -1

    def step(self) -> None:
        """Do what there is to do.

        Raises
        ------
        FedproofError
            Whatever chain or store raise; the next step tries again.
        """
        head = self._block_number()
        if head == self._seen and time.monotonic() < self._next:
            return
        self._seen = -1
        with self._lock:
            self._answer()
            self._rounds.finalize_ready()
            self._tell_final()
            waiting = self._rounds.next_to_finalize()
            wait_s = self._longest_s
            if waiting is not None:
                wait_s = min(wait_s, waiting.finalizable_at - self._ledger.now())
        self._next = time.monotonic() + max(_SHORTEST_S, wait_s)
        self._seen = head  # blocks of our own are looked at once more: harmless, and misses none

    def _tell_final(self) -> None:
        """Log every round that has become final since the first look, whoever made it so."""
        newest = self._ledger.head().last_final
        height = self._ledger.round(newest).height if newest else 0
        for final in range(self._final + 1 if self._final >= 0 else height + 1, height + 1):
            _log.info("round final", extra=fields(round=self._ledger.round_at_height(final)))
        self._final = height

    def _answer(self) -> None:
        for given in self._responder.step():
            _log.warning(
                "answered a question of a dispute",
                extra=fields(case=given.case_id, round=given.round_id, kind=given.kind),
            )
        owed = self._responder.settle()
        if owed:
            _log.info("collected deposits of disputes", extra=fields(wei=owed))
