"""Answers the questions of disputes for a coordinator, before they are due.

What an honest coordinator answers follows from the round alone (``core.disputes.answers``), so
this holds no state: it looks at what waits on chain. What is not in the store any more cannot be
answered; that is what withholding costs. A daemon calls :meth:`Responder.step` at least once in
every ``answer_s`` seconds.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from contracts.federation import Federation
from contracts.records import RoundStatus
from contracts.referee import CaseRecord, CaseState, Referee
from coordinator.core.disputes import ColumnAnswer, DisputedRound, Evidence, answer_to
from coordinator.core.errors import TransactionRevertedError
from coordinator.core.types import Address, Wei
from coordinator.watch.clock import next_time
from coordinator.watch.rounds import RoundReader

_LIVE = (RoundStatus.SEALED, RoundStatus.SETTLED)
_log = logging.getLogger(__name__)

Reply = ColumnAnswer | Evidence

ReplyFn = Callable[[DisputedRound, CaseRecord], Reply | None]
"""Works out an answer; ``None`` to leave the question open."""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """One answered question."""

    case_id: int
    round_id: int
    kind: str
    gas_used: int


def honest_reply(round_: DisputedRound, case: CaseRecord) -> Reply | None:
    """Return the right answer, ``None`` where the store no longer has what it takes."""
    try:
        return answer_to(round_, case.open_case)
    except ValueError as missing:
        _log.error("case %d of round %d: %s", case.case_id, case.round_id, missing)
        return None


class Responder:
    """Answers what waits, and takes back what it is owed.

    Parameters
    ----------
    federation, referee
        Bindings that share the coordinator's nonces.
    rounds
        Reads rounds from the coordinator's store.
    account
        The coordinator's.
    reply
        For attacks in simulations; an honest coordinator keeps the default.
    """

    def __init__(
        self,
        federation: Federation,
        referee: Referee,
        rounds: RoundReader,
        account: LocalAccount,
        reply: ReplyFn = honest_reply,
    ) -> None:
        self._federation, self._referee, self._rounds = federation, referee, rounds
        self._account, self._reply = account, reply

    def step(self) -> list[GivenAnswer]:
        """Answer every question that waits and can still be answered; return the answers."""
        now = next_time(self._federation.rpc)
        given = []
        for case in self._referee.open_cases():
            if case.state is not CaseState.WAITING or now >= case.due:
                continue
            if self._federation.status(case.round_id) not in _LIVE:
                continue  # nothing hangs on it any more
            reply = self._reply(self._rounds.read(case.round_id), case)
            if reply is None:
                continue
            try:
                receipt = self._referee.answer(self._account, case.case_id, reply)
            except TransactionRevertedError as refused:
                # Convicted, or answered by somebody else, between the look and the call.
                _log.warning("answer to case %d: %s", case.case_id, refused)
                continue
            kind = case.kind.name.lower()
            given.append(GivenAnswer(case.case_id, int(case.round_id), kind, int(receipt.gas_used)))
        return given

    def settle(self) -> Wei:
        """Close columns that nobody refuted in time and collect their deposits; return the wei."""
        now = next_time(self._federation.rpc)
        for case in self._referee.open_cases():
            if case.state is CaseState.ANSWERED and now >= case.due:
                self._referee.close(self._account, case.case_id)
        owed = self._referee.credit_wei(Address(self._account.address))
        if owed:
            self._referee.collect(self._account)
        return owed
