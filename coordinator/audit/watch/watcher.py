"""Follows a federation: replays every sealed round, and convicts the coordinator of a wrong one.

One :meth:`Watcher.step` examines everything once and acts where it can. All of its state is read
from chain and store, so it can be killed at any time and started again (ADR 80); several watchers
may work at once, since the contract convicts a round only once. Not handled: waiting between two
steps, and keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eth_account.signers.local import LocalAccount

from contracts.binding.federation import Federation
from contracts.binding.referee import CaseRecord, CaseState, Referee
from contracts.binding.rpc import next_time
from coordinator.audit.watch import sending as planned_calls
from coordinator.audit.watch.cases import CaseBook, next_step
from coordinator.audit.watch.findings import Notice, NoticeHandler, Verb
from coordinator.audit.watch.published import PublishedData
from coordinator.audit.watch.questions import DEFAULT_CHUNKS, DEFAULT_RECORDS, QuestionPlan
from coordinator.audit.watch.rounds import RetryingReader, RoundReader
from coordinator.audit.watch.sending import Sender
from coordinator.audit.watch.steps import DemandEntry, End, Prove, Wait
from coordinator.audit.watch.unprovable import norms_above_bound, unprovable_parts
from coordinator.ports import ArtifactStore
from coordinator.protocol.disputes.cases import Evidence, Question
from coordinator.protocol.disputes.fault import Fault
from coordinator.protocol.disputes.faults import find_faults, moves_against
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import StoreError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.rules import is_provable
from coordinator.protocol.types import RoundId, Wei


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch.

    Attributes
    ----------
    lag_rounds
        Examine a round only when so many newer ones build on it.
    interactive
        Ask for a column even if one transaction would prove the aggregate wrong.
    chunks, records
        The most chunks of one withheld vector, and records of one withheld document, to demand.
        When all of them were published the round is judged as if the store had had them.
    store_patience_s
        Seconds of chain time that a store may not answer before that counts as withholding;
        ``None`` for a quarter of the challenge window, which is also the maximum.
    """

    lag_rounds: int = 0
    interactive: bool = False
    chunks: int = DEFAULT_CHUNKS
    records: int = DEFAULT_RECORDS
    store_patience_s: int | None = None


class Watcher:
    """Watches one federation.

    Parameters
    ----------
    federation, referee
        Bindings that share one transactor.
    store
        Where the rounds' artifacts are published.
    account
        Signs and pays; with ``None`` the watcher only reports.
    on_notice
        Receives each fault, then the price of a transaction, then its outcome.
    """

    def __init__(
        self,
        federation: Federation,
        referee: Referee,
        store: ArtifactStore,
        account: LocalAccount | None,
        on_notice: NoticeHandler,
        options: WatchOptions | None = None,
    ) -> None:
        self._federation, self._referee = federation, referee
        self._on_notice, self._options = on_notice, options or WatchOptions()
        self._published = PublishedData(federation, referee)
        self._rounds = RoundReader(federation, store, self._published)
        patience_s = self._options.store_patience_s
        self._reader = RetryingReader(federation, self._rounds, patience_s, on_notice)
        self._sender = Sender(federation, referee, account, on_notice)
        self._plan = QuestionPlan(self._published, self._options.chunks, self._options.records)
        self._book = CaseBook(referee, self._sender.address)
        self._reported: set[tuple[RoundId, RoundStatus]] = set()
        self._refused: set[int] = set()
        self._rules: set[bytes] = set()
        self.standing: dict[RoundId, list[Fault]] = {}
        """Provable faults of live rounds that nobody has been convicted for."""

    @property
    def unread(self) -> dict[RoundId, StoreError]:
        """Live rounds that could not be read at the last step, each with the store's error."""
        return self._reader.unread

    def step(self) -> bool:
        """Examine every round and case once; return whether anything was sent.

        A store that does not answer, or a node that refuses a transaction, is reported and tried
        again at the next step.

        Raises
        ------
        LedgerError
            If the node does not answer, or refuses to be read.
        """
        self._sender.look()
        self._book.refresh()
        self._published.refresh()
        sent = False
        if self._sender.account is not None:
            for case in self._book.open():
                sent |= self._pursue(case)
        for state in self._to_examine():
            sent |= self._examine(state)
        if self._sender.account is not None and not self._book.open():
            sent |= self._sender.collect()
        return sent

    def ignore_lag(self) -> None:
        """Examine the newest rounds too from now on, however few build on them."""
        self._options = replace(self._options, lag_rounds=0)

    def next_deadline(self) -> int | None:
        """Return the chain time at which the first of this watcher's open questions is due."""
        self._book.refresh()
        cases = [case for case in self._book.open() if case.case_id not in self._refused]
        return min((case.due for case in cases), default=None)

    def challenge(self, round_id: RoundId, faults: Sequence[Fault]) -> bool:
        """Challenge a round over given faults, as :meth:`step` does over those it finds."""
        self._sender.look()
        return self._act(self._federation.round(round_id), self._rounds.read(round_id), faults)

    # --- examining ---------------------------------------------------------------------------

    def _to_examine(self) -> Iterator[ChainRound]:
        """Yield the live rounds that are not final, lowest first."""
        head = self._federation.head()
        live_rounds = []
        cursor = head.head_round
        while cursor != head.final_round and cursor:
            live_rounds.append(self._federation.round(cursor))
            cursor = live_rounds[-1].parent
        live = {state.round_id for state in live_rounds}
        self.standing = {k: faults for k, faults in self.standing.items() if k in live}
        self._reader.keep_only(live)
        for state in reversed(live_rounds):
            if state.height <= head.height - self._options.lag_rounds:
                yield state

    def _examine(self, state: ChainRound) -> bool:
        key = (state.round_id, state.status)
        is_settled = key in self._reported and state.round_id not in self.unread
        if is_settled and (self._sender.account is None or not self.standing.get(state.round_id)):
            return False
        if not self._federation.status(state.round_id).is_disputable:
            return False  # voided by a conviction of an earlier round a moment ago
        round_ = self._reader.read(state)
        if round_ is None:
            return False
        faults = find_faults(round_)
        # A withheld artifact may have been published since, and have another fault.
        if key not in self._reported or faults != self.standing.get(state.round_id):
            self._reported.add(key)
            self._admit_limits(round_)
            self._report(state, round_, faults)
            for text in norms_above_bound(round_):
                self._say("unprovable", state.round_id, text)
        self.standing[state.round_id] = faults
        if faults:
            self._reader.keep(state, round_)
        return self._act(state, round_, faults)

    def _admit_limits(self, round_: DisputedRound) -> None:
        """Report, once per rule, the parts of it that no contract and so no watcher judges."""
        rule, rule_hash = round_.rule, round_.committed.rule_hash
        if rule is None or rule_hash in self._rules:
            return
        self._rules.add(rule_hash)
        for text in unprovable_parts(rule):
            self._say("unprovable", round_.committed.round_id, text)

    def _report(self, state: ChainRound, round_: DisputedRound, faults: Sequence[Fault]) -> None:
        status, n = state.status.word, state.n
        if not faults:
            text = f"{status}, {n} contributors: nothing wrong"
            if round_.rule is not None and not is_provable(round_.rule):
                text += ", but for the aggregate, which is not provable by this referee"
            self._say("examined", state.round_id, text)
        for fault in faults:
            facts = {"fault": fault.kind.value, "place": fault.place}
            self._on_notice(Notice("found", int(state.round_id), str(fault), facts=facts))

    # --- acting ------------------------------------------------------------------------------

    def _act(self, state: ChainRound, round_: DisputedRound, faults: Sequence[Fault]) -> bool:
        """Convict over the first fault that one transaction proves, else ask."""
        if not faults or self._is_over(state):
            return False
        options = [(fault, move) for fault in faults for move in moves_against(round_, fault)]
        if not (self._options.interactive and any(isinstance(m, Question) for _, m in options)):
            for fault, move in options:
                if isinstance(move, Evidence) and not self._refusal(move):
                    return self._convict(state.round_id, move, str(fault))
        if any(case.round_id == state.round_id for case in self._book.open()):
            return False  # a question of this round still waits for its answer
        asked = self._book.asked()
        questions = self._plan.next(round_, options, asked, can_wait=self._can_wait(state))
        if questions:
            return self._ask(state.round_id, questions)
        self._give_up(state.round_id, "nothing is left to ask; see fedproof verify")
        return False

    def _can_wait(self, state: ChainRound) -> bool:
        """Whether there is time for more questions after two answers at the last moment."""
        if not state.settled_at:
            return True
        settings = self._referee.settings
        last = state.settled_at + 2 * settings.challenge_window_s
        return next_time(self._federation.rpc) + 2 * settings.answer_s < last

    def _is_over(self, state: ChainRound) -> bool:
        """Whether the challenge window has passed: then the round is final even if it is wrong."""
        end = state.finalizable_at
        over = end is not None and next_time(self._federation.rpc) >= end
        if over:
            self._give_up(state.round_id, "its challenge window has passed")
        return over

    def _give_up(self, round_id: RoundId, text: str) -> None:
        """Report once per round that nothing more will be done."""
        if (round_id, RoundStatus.FINAL) not in self._reported:
            self._reported.add((round_id, RoundStatus.FINAL))
            self._say("gave up", round_id, text)

    def _convict(self, round_id: RoundId, evidence: Evidence, why: str) -> bool:
        return self._sender.send([planned_calls.proving(round_id, evidence, why)])

    def _ask(self, round_id: RoundId, questions: Sequence[tuple[Fault, Question]]) -> bool:
        return self._sender.send(planned_calls.asking(round_id, questions, self._deposit_wei))

    def _pursue(self, case: CaseRecord) -> bool:
        """Take the next step in an open case."""
        match self._next_step(case):
            case Wait():
                return False
            case Prove(evidence):
                return self._refute(case, evidence)
            case step:
                return self._sender.send([planned_calls.pursuing(case, step, self._deposit_wei)])

    @property
    def _deposit_wei(self) -> Wei:
        return self._referee.settings.deposit_wei

    def _next_step(self, case: CaseRecord) -> Wait | DemandEntry | End | Prove:
        status = self._federation.status(case.round_id)
        now = next_time(self._federation.rpc)
        round_ = None
        if status.is_disputable and case.state is CaseState.ANSWERED and now < case.due:
            round_ = self._reader.read_now(case.round_id, status)
        return next_step(case, status, round_, self._book.entries(case.case_id), now)

    def _refute(self, case: CaseRecord, evidence: Evidence) -> bool:
        reason = self._refusal(evidence)
        if not reason:
            text = f"the column answered in case {case.case_id} is wrong"
            return self._convict(case.round_id, evidence, text)
        if case.case_id not in self._refused:
            self._refused.add(case.case_id)
            text = f"case {case.case_id}: {evidence.function} would fail: {reason}"
            self._say("gave up", case.round_id, text)
        return False

    def _refusal(self, evidence: Evidence) -> str:
        return self._referee.refusal(evidence, self._sender.address)

    def _say(self, verb: Verb, round_id: RoundId, text: str) -> None:
        self._on_notice(Notice(verb, int(round_id), text))
