"""Answers the questions of disputes for a coordinator, before they are due.

The right answer follows from the round alone (``protocol.disputes.answers``), so the only input is
the list of open cases on chain. A question about an artifact that is no longer in the store cannot
be answered, and the coordinator loses the case. A daemon calls :meth:`Responder.step` at least once
in every ``answer_s`` seconds. Answers are sent in batches, the earliest deadline first, without
waiting for a receipt between two of them. Not handled: a chain so full that answers do not fit
beside the questions.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eth_account.signers.local import LocalAccount

from contracts.binding import referee_calls
from contracts.binding.federation import Federation
from contracts.binding.referee import CaseRecord, CaseState, Referee
from contracts.binding.rpc import next_time
from contracts.binding.transactions import Receipt
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.disputes.answers import answer_to
from coordinator.protocol.disputes.cases import ColumnAnswer, Evidence
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.types import Address, RoundId, Wei

BATCH: Final = 32
"""Answers sent before waiting for the first receipt: as many as nodes queue for one account."""
FORGET_AFTER_BLOCKS: Final = 64
"""Blocks after which a closed case is no longer read: no deeper reorganisation is expected."""
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
    """Return the right answer, ``None`` if the store no longer has the artifacts for it."""
    try:
        return answer_to(round_, case.open_case)
    except ValueError as missing:
        _log.error("case %d of round %d: %s", case.case_id, case.round_id, missing)
        return None


class OpenCases:
    """The cases that are not closed, read without asking for every past case each time.

    A closed case opens again only if the chain drops its latest blocks, so a case is read until it
    has been closed for :data:`FORGET_AFTER_BLOCKS` blocks.
    """

    def __init__(self, referee: Referee) -> None:
        self._referee = referee
        self._newest = 0
        self._closed_at: dict[int, int | None] = {}

    def refreshed(self) -> list[CaseRecord]:
        """Return the open cases as the chain has them now, in order of number."""
        head = self._referee.rpc.block().number
        count = self._referee.case_count()
        self._newest = min(self._newest, count)
        for number in range(self._newest + 1, count + 1):
            self._closed_at.setdefault(number, None)
        self._newest = count
        open_cases = {
            case.case_id: case for case in self._referee.open_cases(sorted(self._closed_at))
        }
        for number, closed_at in list(self._closed_at.items()):
            if number in open_cases:
                self._closed_at[number] = None
            elif closed_at is None:
                self._closed_at[number] = head
            elif head - closed_at >= FORGET_AFTER_BLOCKS:
                del self._closed_at[number]
        return list(open_cases.values())


class Responder:
    """Answers waiting questions, and collects the deposits that the coordinator is owed.

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
        self._open = OpenCases(referee)

    def step(self) -> list[GivenAnswer]:
        """Answer every waiting question that can be answered in time; return the answers.

        Raises
        ------
        LedgerError
            If the node does not answer, or refuses a transaction; some answers may be mined.
        """
        waiting = [case for case in self._open.refreshed() if case.state is CaseState.WAITING]
        waiting.sort(key=lambda case: case.due)
        rounds: dict[RoundId, DisputedRound | None] = {}
        given: list[GivenAnswer] = []
        replies: list[tuple[CaseRecord, Reply]] = []
        for case in waiting:
            if case.round_id not in rounds:
                rounds[case.round_id] = self._round(case.round_id)
            round_ = rounds[case.round_id]
            reply = None if round_ is None else self._reply(round_, case)
            if reply is not None:
                replies.append((case, reply))
            if len(replies) == BATCH:
                given += self._send(replies)
                replies = []
        return given + self._send(replies)

    def _round(self, round_id: RoundId) -> DisputedRound | None:
        """Read a round, ``None`` if it can no longer be disputed."""
        if not self._federation.status(round_id).is_disputable:
            return None
        # One artifact that cannot be read must not keep all other questions from being answered.
        return self._rounds.read(round_id, without_store=True)

    def _send(self, replies: Sequence[tuple[CaseRecord, Reply]]) -> list[GivenAnswer]:
        """Send answers with consecutive nonces, then read the receipt of each."""
        now = next_time(self._federation.rpc)
        in_time = [(case, reply) for case, reply in replies if now < case.due]
        calls = [referee_calls.reply(case.case_id, reply) for case, reply in in_time]
        given, refused = [], None
        outcomes = self._referee.transact_each(self._account, calls) if calls else []
        for (case, _), outcome in zip(in_time, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                kind, gas = case.kind.name.lower(), int(outcome.gas_used)
                given.append(GivenAnswer(case.case_id, int(case.round_id), kind, gas))
            elif isinstance(outcome, TransactionRevertedError):
                # Convicted, or answered by somebody else, after the case was read.
                _log.warning("answer to case %d: %s", case.case_id, outcome)
            else:
                refused = outcome
        if refused is not None:
            raise refused
        return given

    def settle(self) -> Wei:
        """Close columns that nobody refuted in time and collect their deposits; return the wei."""
        now = next_time(self._federation.rpc)
        for case in self._open.refreshed():
            if case.state is CaseState.ANSWERED and now >= case.due:
                self._referee.close(self._account, case.case_id)
        owed = self._referee.credit_wei(Address(self._account.address))
        if owed:
            self._referee.collect(self._account)
        return owed
