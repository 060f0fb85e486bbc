"""A model of the referee contract in Python: cases, deposits, deadlines for answers.

Each method is one call: it returns the reason for a refusal, or the empty string after carrying
the call out. A test says which rounds there are, and what is wrong in them.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from coordinator.protocol.disputes import CaseKind

WAITING, ANSWERED, CLOSED = 1, 2, 3
SEALED, SETTLED, FINAL, VOID = "sealed", "settled", "final", "void"

SETTLEMENT = (CaseKind.PAYMENTS, CaseKind.SCORE, CaseKind.REWARD)
"""Kinds of cases that concern a round's settlement, so need a settled round."""
RIGHT = {
    CaseKind.AGGREGATE: "dispute: chunk is right",
    CaseKind.TOTALS: "dispute: totals are right",
    CaseKind.PAYMENTS: "dispute: payments are right",
    CaseKind.CONTRIBUTOR: "dispute: signature is right",
}
"""Refusals of a proof about a round in which nothing of the case's kind is wrong."""


@dataclass
class ModelRound:
    """A committed round; ``wrong`` is the kind of its fault, ``None`` for an honest round."""

    number: int
    wrong: CaseKind | None
    status: str = SEALED
    settled_at: int = 0
    held_until: int = 0


@dataclass
class ModelCase:
    """A case; ``honest`` is whether the answered column is right."""

    number: int
    round: int
    kind: CaseKind
    challenger: str
    deposit: int
    due: int
    state: int = WAITING
    rooted: bool = False
    honest: bool = True
    entry: int | None = None
    demands: int = 0


@dataclass
class RefereeModel:
    """The referee's state, and the state of the federation that it depends on."""

    deposit: int
    answer_s: int
    window_s: int
    coordinator: str
    bond: int
    slash_bps: int
    rounds: dict[int, ModelRound] = field(default_factory=dict)
    cases: dict[int, ModelCase] = field(default_factory=dict)
    credit: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bounty: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    held: int = 0
    convictions: list[tuple[int, str]] = field(default_factory=list)

    # Derived state -----------------------------------------------------------------------

    @property
    def unanswered(self) -> int:
        return sum(case.state == WAITING for case in self.cases.values())

    @property
    def locked(self) -> int:
        return sum(case.deposit for case in self.cases.values() if case.state != CLOSED)

    @property
    def head(self) -> int:
        """The last live round, 0 for none."""
        live = [r.number for r in self.rounds.values() if r.status != VOID]
        return max(live, default=0)

    def convictable(self, number: int, now: int) -> str:
        """The federation's reason for not convicting."""
        round_ = self.rounds[number]
        if round_.status not in (SEALED, SETTLED):
            return "round: not live"
        if round_.status == SETTLED and now >= self.window_end(round_):
            return "round: window closed"
        return ""

    def window_end(self, round_: ModelRound) -> int:
        return max(round_.settled_at + self.window_s, round_.held_until)

    # Rounds ------------------------------------------------------------------------------

    def commit(self, number: int, wrong: CaseKind | None) -> None:
        self.rounds[number] = ModelRound(number, wrong)

    def settle(self, number: int, now: int) -> None:
        self.rounds[number].status = SETTLED
        self.rounds[number].settled_at = now

    def finalize(self, number: int, now: int) -> str:
        round_ = self.rounds[number]
        if round_.status != SETTLED:
            return "round: not settled"
        below = [r for r in self.rounds.values() if r.number < number]
        if any(r.status in (SEALED, SETTLED) for r in below):
            return "round: parent not final"
        if now < self.window_end(round_):
            return "round: window open"
        round_.status = FINAL
        return ""

    # Disputes ----------------------------------------------------------------------------

    def _due(self, now: int) -> int:
        pace = max(1, self.answer_s // 64)
        return now + self.answer_s + min(self.unanswered * pace, 3 * self.answer_s)

    def _hold(self, number: int, due: int) -> None:
        round_ = self.rounds[number]
        round_.held_until = max(round_.held_until, due + self.answer_s)

    def ask(self, who: str, number: int, kind: CaseKind, deposit: int, now: int) -> str:
        round_ = self.rounds[number]
        if kind in SETTLEMENT and not round_.settled_at:
            return "dispute: round not settled"
        if deposit != self.deposit:
            return "dispute: wrong deposit"
        if round_.status not in (SEALED, SETTLED):
            return "dispute: round not live"
        if round_.status == SETTLED:
            last = min(round_.settled_at + 2 * self.window_s, self.window_end(round_))
            if now >= last:
                return "dispute: window closed"
        case_id = len(self.cases) + 1
        due = self._due(now)
        self.cases[case_id] = ModelCase(case_id, number, kind, who, self.deposit, due)
        self.held += self.deposit
        self._hold(number, due)
        return ""

    def answer_column(self, who: str, case_id: int, now: int, *, honest: bool) -> str:
        case = self.cases[case_id]
        if who != self.coordinator:
            return "role: not coordinator"
        refused = self._not_waiting(case, now)
        if refused:
            return refused
        if not case.kind.is_column or case.rooted:
            return "dispute: other kind of case"
        case.rooted, case.honest = True, honest
        self._answered(case, now)
        return ""

    def answer(self, case_id: int, now: int, flaw: str) -> str:
        """Answer with an entry, or with data; ``flaw`` is the reason to refuse it by itself."""
        case = self.cases[case_id]
        refused = self._not_waiting(case, now) or flaw
        if refused:
            return refused
        if case.kind.is_column:
            self._answered(case, now)
        else:
            self._close(case, self.coordinator)
        return ""

    @staticmethod
    def _not_waiting(case: ModelCase, now: int) -> str:
        if case.state != WAITING:
            return "dispute: nothing to answer"
        return "dispute: too late to answer" if now >= case.due else ""

    def _answered(self, case: ModelCase, now: int) -> None:
        case.state, case.due, case.entry = ANSWERED, now + self.answer_s, None

    def demand_entry(self, who: str, case_id: int, index: int, n: int, now: int) -> str:
        case = self.cases[case_id]
        if case.state != ANSWERED or not case.rooted:
            return "dispute: no such column"
        if who != case.challenger:
            return "dispute: not the challenger"
        if now >= case.due:
            return "dispute: too late to refute"
        if case.demands >= 32:
            return "dispute: too many demands"
        if index > n:
            return "dispute: index out of range"
        if self.convictable(case.round, now):
            return "dispute: round not live"
        due = self._due(now)
        case.state, case.due, case.entry = WAITING, due, index
        case.deposit += self.deposit
        case.demands += 1
        self.held += self.deposit
        self._hold(case.round, due)
        return ""

    def convict(self, who: str, number: int, kind: CaseKind, now: int) -> str:
        """A proof in one transaction, of a wrong aggregate or a forged signature."""
        if self.rounds[number].wrong is not kind:
            return RIGHT[kind]
        return self._convict(number, who, now)

    def refute(self, case_id: int, now: int) -> str:
        """The best proof against an answered column of a wrong or right round."""
        case = self.cases[case_id]
        if not case.rooted:
            return "dispute: no such entry"
        if case.honest and self.rounds[case.round].wrong is not case.kind:
            return RIGHT[case.kind]
        if case.state == CLOSED:
            return "dispute: no such column"
        if case.state == ANSWERED and now >= case.due:
            return "dispute: too late to refute"
        refused = self._convict(case.round, case.challenger, now)
        if not refused:
            self._close(case, case.challenger)
        return refused

    def timeout(self, case_id: int, now: int) -> str:
        case = self.cases[case_id]
        if case.state != WAITING:
            return "dispute: nothing to answer"
        if now < case.due:
            return "dispute: before due"
        refused = self._convict(case.round, case.challenger, now)
        if not refused:
            self._close(case, case.challenger)
        return refused

    def _convict(self, number: int, prover: str, now: int) -> str:
        refused = self.convictable(number, now)
        if refused:
            return refused
        for round_ in self.rounds.values():
            if round_.number >= number and round_.status != VOID:
                round_.status = VOID
        taken = self.bond * self.slash_bps // 10_000
        self.bond -= taken
        self.bounty[prover] += taken // 2
        self.convictions.append((number, prover))
        return ""

    def close(self, case_id: int, now: int) -> str:
        case = self.cases[case_id]
        if case.state == CLOSED:
            return "dispute: no such case"
        if self.rounds[case.round].status == VOID:
            self._close(case, case.challenger)
        elif case.state == WAITING:
            if not self.convictable(case.round, now):
                return "dispute: still running"
            self._close(case, case.challenger)
        else:
            if now < case.due:
                return "dispute: still running"
            self._close(case, self.coordinator)
        return ""

    def _close(self, case: ModelCase, paid_to: str) -> None:
        self.credit[paid_to] += case.deposit
        case.deposit, case.state = 0, CLOSED

    def collect(self, who: str) -> str:
        if not self.credit[who]:
            return "collect: nothing due"
        self.held -= self.credit[who]
        self.credit[who] = 0
        return ""
