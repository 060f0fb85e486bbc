"""What the federation contract promises, in plain Python: lists and sums, no packing, no prefixes.

Each method is one call. It returns the reason for which the contract must refuse, or the empty
string after carrying the call out. Order of checks included: reasons are compared too.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from contracts.binding.records import Terms

NONE, OPEN, SEALED, SETTLED, FINAL, VOID = range(6)
LIMIT = 2**128


@dataclass
class Round:
    """One round; ``earned`` is the rewards tree it was settled with."""

    number: int
    model: bytes
    rule: bytes
    opened_at: int
    deadline: int
    parent: int
    height: int
    members: int
    budget: int
    bonds: dict[str, int]
    status: int = OPEN
    commitments: tuple[bytes, int] = (bytes(32), 0)
    n: int = 0
    new_model: bytes = bytes(32)
    sealed_at: int = 0
    settled_at: int = 0
    held_until: int = 0
    score: int = 0
    paid: int = 0
    earned: dict[str, int] = field(default_factory=dict)


class FederationModel:
    """All the contract remembers, and the money it holds."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.members: list[str] = []
        self.bond: dict[str, int] = defaultdict(int)
        self.unbonding: dict[str, int] = defaultdict(int)
        self.matures_at: dict[str, int] = defaultdict(int)
        self.credit: dict[str, int] = defaultdict(int)
        self.claimed: dict[str, int] = defaultdict(int)
        self.pool = self.reserve = self.held = self.burned = 0
        self.rounds: dict[int, Round] = {}
        self.stack: list[int] = []  # live sealed rounds from height 1 on
        self.final = 0  # how many of them are FINAL
        self.referee: str | None = None
        self.equivocated: set[tuple[int, str]] = set()

    # What follows from the state ---------------------------------------------------------

    @property
    def last(self) -> int:
        return len(self.rounds)

    def status(self, number: int) -> int:
        return self.rounds[number].status if number in self.rounds else NONE

    @property
    def open_round(self) -> Round | None:
        last = self.rounds.get(self.last)
        return last if last and last.status == OPEN else None

    @property
    def head_model(self) -> bytes:
        top = self.stack[-1] if self.stack else 0
        return self.rounds[top].new_model if top else self.terms.initial_model_root

    @property
    def pledged(self) -> int:
        live = [self.rounds[number] for number in self.stack[self.final :]]
        if self.open_round:
            live.append(self.open_round)
        return sum(round_.budget for round_ in live)

    @property
    def final_tree(self) -> dict[str, int]:
        return self.rounds[self.stack[self.final - 1]].earned if self.final else {}

    def window_end(self, round_: Round) -> int:
        return max(round_.settled_at + self.terms.challenge_window_s, round_.held_until)

    @property
    def boundaries(self) -> list[int]:
        """Times at which something becomes possible or impossible."""
        times = [t for t in self.matures_at.values() if t]
        if self.open_round:
            times.append(self.open_round.opened_at + self.terms.min_open_s)
            times.append(self.open_round.deadline)
        for number in self.stack[self.final :]:
            if self.rounds[number].settled_at:
                times.append(self.window_end(self.rounds[number]))
        return times

    # Stakes ------------------------------------------------------------------------------

    def join(self, who: str, value: int) -> str:
        if who == self.terms.coordinator:
            return "role: is coordinator"
        reason = self._add_bond(who, value, self.terms.min_stake_wei)
        if not reason and who not in self.members:
            self.members.append(who)
        return reason

    def bond_coordinator(self, who: str, value: int) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        return self._add_bond(who, value, self.terms.min_coordinator_bond_wei)

    def _add_bond(self, who: str, value: int, minimum: int) -> str:
        if value == 0:
            return "stake: nothing sent"
        if self.bond[who] + value < minimum:
            return "stake: below minimum"
        self.bond[who] += value
        self.held += value
        return ""

    def leave(self, who: str, now: int) -> str:
        if who == self.terms.coordinator:
            return "role: is coordinator"
        return self._unbond(who, now)

    def unbond_coordinator(self, who: str, now: int) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        if self.open_round or len(self.stack) > self.final:
            return "round: still live"
        return self._unbond(who, now)

    def _unbond(self, who: str, now: int) -> str:
        if self.bond[who] == 0:
            return "stake: nothing bonded"
        self.unbonding[who] += self.bond[who]
        self.bond[who] = 0
        self.matures_at[who] = now + self.terms.unbonding_period_s
        return ""

    def withdraw(self, who: str, now: int) -> str:
        if self.unbonding[who] == 0:
            return "stake: nothing unbonding"
        if now < self.matures_at[who]:
            return "stake: still unbonding"
        self.held -= self.unbonding[who]
        self.unbonding[who] = self.matures_at[who] = 0
        return ""

    def collect(self, who: str) -> str:
        if self.credit[who] == 0:
            return "collect: nothing due"
        self.held -= self.credit[who]
        self.credit[who] = 0
        return ""

    def _slash(self, who: str, bps: int, prover: str) -> None:
        amount = (self.bond[who] + self.unbonding[who]) * bps // 10_000
        from_bond = min(amount, self.bond[who])
        self.bond[who] -= from_bond
        self.unbonding[who] -= amount - from_bond
        self.credit[prover] += amount // 2
        self.burned += amount - amount // 2
        self.held -= amount - amount // 2

    # Rounds ------------------------------------------------------------------------------

    def open(
        self, who: str, now: int, number: int, model: bytes, rule: bytes, deadline: int
    ) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        overdue = self.open_round
        if overdue and now < overdue.deadline:
            return "round: still open"
        if number != self.last + 1:
            return "round: wrong number"
        if self.bond[who] < self.terms.min_coordinator_bond_wei:
            return "stake: coordinator bond too low"
        if model != self.head_model:
            return "round: wrong model"
        if deadline <= now + self.terms.min_open_s:
            return "round: deadline too soon"
        if deadline + self.terms.challenge_window_s > now + self.terms.unbonding_period_s:
            return "round: deadline too far"
        if overdue:
            overdue.status = VOID
        self.rounds[number] = Round(
            number=number,
            model=model,
            rule=rule,
            opened_at=now,
            deadline=deadline,
            parent=self.stack[-1] if self.stack else 0,
            height=len(self.stack) + 1,
            members=len(self.members),
            budget=min(self.terms.round_budget_wei, self.pool - self.pledged),
            bonds=dict(self.bond),
        )
        return ""

    def _open_reason(self, who: str, now: int, number: int) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        if self.status(number) != OPEN:
            return "round: not open"
        return "round: deadline passed" if now >= self.rounds[number].deadline else ""

    def commit(self, who: str, now: int, number: int, root: bytes, count: int) -> str:
        if reason := self._open_reason(who, now, number):
            return reason
        if root == bytes(32):
            return "round: empty root"
        if self.rounds[number].commitments[0] != bytes(32):
            return "round: already committed"
        self.rounds[number].commitments = root, count
        return ""

    def seal(self, who: str, now: int, number: int, n: int, new_model: bytes) -> str:
        if reason := self._open_reason(who, now, number):
            return reason
        round_ = self.rounds[number]
        if now < round_.opened_at + self.terms.min_open_s:
            return "round: seals early"
        if n < self.terms.min_contributors:
            return "round: too few contributors"
        if n > round_.members:
            return "round: more than members"
        if new_model == bytes(32):
            return "round: empty root"
        round_.n, round_.new_model, round_.sealed_at = n, new_model, now
        round_.status = SEALED
        self.stack.append(number)
        return ""

    def settle(
        self, who: str, now: int, number: int, earned: dict[str, int], paid: int, score: int
    ) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        if self.status(number) != SEALED:
            return "round: not sealed"
        round_ = self.rounds[number]
        if round_.parent and not self.rounds[round_.parent].settled_at:
            return "round: parent not settled"
        if score >= LIMIT:
            return "round: total too large"
        if score == 0 and paid > 0:
            return "round: pays without score"
        if score > 0 and paid > round_.budget:
            return "round: pays over budget"
        if score > 0 and paid <= round_.budget - round_.n:
            return "round: pays too little"
        round_.earned, round_.paid, round_.score = earned, paid, score
        round_.settled_at, round_.status = now, SETTLED
        return ""

    def finalize(self, now: int, number: int) -> str:
        if self.status(number) != SETTLED:
            return "round: not settled"
        round_ = self.rounds[number]
        if self.stack[self.final] != number:
            return "round: parent not final"
        if now < self.window_end(round_):
            return "round: window open"
        round_.status = FINAL
        self.final += 1
        self.pool -= round_.paid
        self.reserve += round_.paid
        return ""

    def void(self, who: str, now: int, number: int) -> str:
        reason = self._open_reason(who, now, number)
        if not reason:
            self.rounds[number].status = VOID
        return reason

    def expire(self, now: int, number: int) -> str:
        if self.status(number) != OPEN:
            return "round: not open"
        if now < self.rounds[number].deadline:
            return "round: before deadline"
        self.rounds[number].status = VOID
        return ""

    # Rewards -----------------------------------------------------------------------------

    def fund(self, value: int) -> str:
        if value == 0:
            return "pool: nothing sent"
        self.pool += value
        self.held += value
        return ""

    def claim(self, who: str, cumulative: int, tree: dict[str, int]) -> str:
        """``tree`` is the one the proof was made in."""
        if not self.final or tree != self.final_tree or tree.get(who) != cumulative:
            return "claim: bad proof"
        if cumulative <= self.claimed[who]:
            return "claim: nothing due"
        amount = cumulative - self.claimed[who]
        if amount > self.reserve:
            return "claim: exceeds reserve"
        self.claimed[who] = cumulative
        self.reserve -= amount
        self.held -= amount
        return ""

    # Evidence ----------------------------------------------------------------------------

    def equivocation(
        self, prover: str, who: str, rounds: tuple[int, int], same_update: bool, valid: bool
    ) -> str:
        if who not in self.members:
            return "evidence: not a member"
        if rounds[0] != rounds[1]:
            return "evidence: different rounds"
        if rounds[0] not in self.rounds:
            return "evidence: no such round"
        if same_update:
            return "evidence: same update"
        if (rounds[0], who) in self.equivocated:
            return "evidence: already slashed"
        if not valid:
            return "evidence: wrong signer"
        if self.bond[who] + self.unbonding[who] == 0:
            return "evidence: nothing at stake"
        self.equivocated.add((rounds[0], who))
        self._slash(who, self.terms.contributor_slash_bps, prover)
        return ""

    # The referee -------------------------------------------------------------------------

    def set_referee(self, who: str, referee: str, is_contract: bool) -> str:
        if who != self.terms.coordinator:
            return "role: not coordinator"
        if self.referee is not None:
            return "referee: already set"
        if self.rounds:
            return "referee: round opened"
        if not is_contract:
            return "referee: not a contract"
        self.referee = referee
        return ""

    def _challenge_reason(self, now: int, number: int) -> str:
        if self.status(number) not in (SEALED, SETTLED):
            return "round: not live"
        round_ = self.rounds[number]
        if round_.status == SETTLED and now >= self.window_end(round_):
            return "round: window closed"
        return ""

    def hold(self, sender: str, now: int, number: int, until: int) -> str:
        if sender != self.referee:
            return "role: not referee"
        if reason := self._challenge_reason(now, number):
            return reason
        if until > now + self.terms.unbonding_period_s:
            return "round: hold too long"
        if until <= self.rounds[number].held_until:
            return "round: hold not longer"
        self.rounds[number].held_until = until
        return ""

    def convict(self, sender: str, now: int, number: int, prover: str) -> str:
        if sender != self.referee:
            return "role: not referee"
        if self.status(number) == OPEN:
            if now >= self.rounds[number].deadline:
                return "round: deadline passed"
        elif reason := self._challenge_reason(now, number):
            return reason
        if self.open_round:
            self.open_round.status = VOID
        if number in self.stack:
            at = self.stack.index(number)
            for above in self.stack[at:]:
                self.rounds[above].status = VOID
            del self.stack[at:]
        self._slash(self.terms.coordinator, self.terms.coordinator_slash_bps, prover)
        return ""
