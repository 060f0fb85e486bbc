"""Random disputes: the deployed referee and a Python model side by side.

Checks the invariants D1 to D6 of ``contracts/INVARIANTS.md`` after every call, and at the end that
every deposit comes back to somebody. One challenger is a contract that re-enters whenever it is
paid. A few histories run on the embedded chain, more on revm; ``FEDPROOF_FUZZ=1`` makes it 375
histories of 500 calls, in eight shards.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from dispute_rounds import Draft, forged
from dispute_world import (
    ANSWER_S,
    BOND,
    BOND_BPS,
    COORDINATOR,
    DEPOSIT,
    STRANGER,
    UPDATES,
    WATCHER,
    WINDOW_S,
    DisputeWorld,
)
from federation_world import helper_artifact
from histories import CALLS, FUZZ, SHARDS, run_histories, share
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from referee_model import (
    ANSWERED,
    CLOSED,
    FINAL,
    SEALED,
    SETTLED,
    VOID,
    WAITING,
    ModelCase,
    RefereeModel,
)

from contracts.binding import calls, referee_calls
from contracts.binding.calls import Call
from coordinator.protocol.disputes import (
    CaseKind,
    Column,
    ColumnAnswer,
    DisputedRound,
    Evidence,
    OpenCase,
    ProvenEntry,
    Question,
    answer_to,
    column_of,
)
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, RoundId, Wei

ATTACKER = "the attacker"
ODD = 8  # every so many steps a rule runs even where it can have no effect
MAX_LIVE, MAX_ROUNDS = 4, 80
CHALLENGERS = st.sampled_from([WATCHER.address, STRANGER.address, ATTACKER, COORDINATOR.address])
PICK = st.integers(0, 10**6)
PARAMETER, CHUNK, POSITION = 0, 1, 2
"""What is asked for; of members, who count from 1, the second."""

WRONG_DATA = {
    CaseKind.RULE: "dispute: wrong rule",
    CaseKind.CONTRIBUTOR: "dispute: other contributor",
    CaseKind.UPDATE: "dispute: other contributor",
    CaseKind.BASE_MODEL: "dispute: no such chunk",
    CaseKind.NEW_MODEL: "dispute: no such chunk",
    CaseKind.SCORE: "dispute: other contributor",
    CaseKind.REWARD: "dispute: no such reward",
}
"""Refusals of an answer with something else than what was asked for."""

WRONGS: list[CaseKind | None] = [
    None,
    CaseKind.AGGREGATE,
    CaseKind.TOTALS,
    CaseKind.PAYMENTS,
    CaseKind.CONTRIBUTOR,
]
KINDS = [*CaseKind, CaseKind.AGGREGATE, CaseKind.TOTALS, CaseKind.PAYMENTS]


def useful(condition: Callable[["RefereeMachine"], object]) -> Callable:
    """Let a rule run when it can have an effect, and now and then when it cannot."""
    return precondition(
        lambda self: condition(self) or (self.steps % ODD == 0 and self.model.cases)
    )


def spoil(draft: Draft, wrong: CaseKind | None) -> None:
    """Make one thing of a round wrong."""
    if wrong is CaseKind.AGGREGATE:
        draft.new_model = draft.new_model + np.int32(1)
    elif wrong is CaseKind.TOTALS:
        draft.total_stake += 1
    elif wrong is CaseKind.PAYMENTS:
        draft.paid -= 1
    elif wrong is CaseKind.CONTRIBUTOR:
        entry = draft.entries[0]
        draft.entries[0] = forged(entry, entry.signature[:64] + bytes([29]))


def falsified(column: Column) -> Column:
    """The column off by one from its second entry on."""
    first, *rest = column.entries
    return Column((first, *((e[0] + 1, *e[1:]) for e in rest)), column.lo, column.hi)


def question(round_: DisputedRound, kind: CaseKind) -> Question:
    if kind is CaseKind.AGGREGATE:
        return ask.challenge_column(round_, PARAMETER)
    if kind is CaseKind.TOTALS:
        return ask.challenge_totals(round_)
    if kind is CaseKind.PAYMENTS:
        return ask.challenge_payments(round_)
    if kind in (CaseKind.UPDATE, CaseKind.BASE_MODEL, CaseKind.NEW_MODEL):
        index = POSITION if kind is CaseKind.UPDATE else 0
        return ask.demand_chunk(round_, kind, CHUNK, index)
    return ask.demand_record(round_, kind, 0 if kind is CaseKind.RULE else POSITION)


def data_answer(round_: DisputedRound, case: ModelCase, *, right: bool) -> Evidence:
    """What was demanded; or the same of the place before it."""
    index, chunk = (POSITION, CHUNK) if right else (POSITION - 1, CHUNK - 1)
    known = round_
    if case.kind is CaseKind.RULE and not right:
        assert round_.rule
        known = replace(round_, rule=replace(round_.rule, min_contributors=2))
    asked = OpenCase(case.number, RoundId(case.round), case.kind, index, chunk, None)
    data = answer_to(known, asked)
    assert isinstance(data, Evidence)
    return data


def is_waiting(case: ModelCase) -> bool:
    return case.state == WAITING


def is_answered(case: ModelCase) -> bool:
    return case.state == ANSWERED


class RefereeMachine(RuleBasedStateMachine):
    """One history; the chain goes back to where it was when it ends."""

    world: ClassVar[DisputeWorld]
    attacker: ClassVar[Address]
    outcomes: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = self.world.node.snapshot()
        self.world.forget()
        self.model = RefereeModel(DEPOSIT, ANSWER_S, WINDOW_S, COORDINATOR.address, BOND, BOND_BPS)
        self.drafts: dict[int, Draft] = {}
        self.rounds: dict[int, DisputedRound] = {}
        self.cases_seen: dict[int, ModelCase] = {}
        self.steps = 0

    def teardown(self) -> None:
        try:
            self.every_deposit_comes_back()
        finally:
            self.world.node.revert(self.snapshot)
            self.world.forget()

    # Sending -----------------------------------------------------------------------------

    def address(self, who: str) -> Address:
        return self.attacker if who == ATTACKER else Address(who)

    def account(self, who: str):
        accounts = {a.address: a for a in (COORDINATOR, WATCHER, STRANGER)}
        return accounts.get(who, STRANGER)

    def expect(self, label: str, expected: str, who: str, call: Call) -> str:
        """Send, through the attacker's contract if it is the attacker; compare the reason."""
        note(f"{self.next} {who[:6]} {call.label}: {expected or 'ok'}")
        self.steps += 1
        self.outcomes[label, expected] += 1
        found = ""
        try:
            if who == ATTACKER:
                self.through_attacker("execute", call.data, call)
            else:
                self.world.send(self.account(who), call)
        except TransactionRevertedError as reverted:
            found = reverted.reason
        assert found == expected
        return found

    def through_attacker(self, function: str, data: bytes, call: Call) -> None:
        abi = helper_artifact("reentrant").functions[function]
        raw = abi.encode_call((self.world.referee.address, data))
        made = Call(function, raw, call.value_wei, 4_000_000, "attacker", "referee")
        transactor = self.world.federation.transactor
        transactor.send(transactor.prepare(STRANGER, made, self.attacker))

    @property
    def next(self) -> int:
        """Time of the next block."""
        return self.world.now + 1

    def pick(self, at: int) -> int:
        """A round; mostly one that is not final or void."""
        live = [n for n, r in self.model.rounds.items() if r.status in (SEALED, SETTLED)]
        numbers = live if live and at % ODD else list(self.rounds)
        return numbers[at // ODD % len(numbers)]

    def some(self, condition: Callable[[ModelCase], object]) -> list[ModelCase]:
        return [case for case in self.model.cases.values() if condition(case)]

    def case(self, at: int, condition: Callable[[ModelCase], object]) -> ModelCase:
        """A case for which a call makes sense; seldom any."""
        sensible = self.some(condition)
        cases = sensible if sensible and at % ODD else list(self.model.cases.values())
        return cases[at // ODD % len(cases)]

    # Rounds ------------------------------------------------------------------------------

    def live(self) -> int:
        return sum(r.status in (SEALED, SETTLED) for r in self.model.rounds.values())

    @precondition(lambda self: self.live() < MAX_LIVE and len(self.rounds) < MAX_ROUNDS)
    @rule(wrong=st.sampled_from(WRONGS), settle=st.sampled_from([True, True, False]))
    def commit(self, wrong: CaseKind | None, settle: bool) -> None:
        number = len(self.rounds) + 1
        draft = self.world.draft(number=number, parent=self.drafts.get(self.model.head))
        if self.model.bond < BOND // 4:
            self.bond_too_low(draft)
        spoil(draft, wrong)
        self.drafts[number] = draft
        self.rounds[number] = self.world.commit(draft, settled=False)
        self.model.commit(number, wrong)
        self.outcomes["open", ""] += 1
        self.outcomes[f"seal {wrong.name if wrong else 'sound'}", ""] += 1
        if settle:
            self.settle_if_possible(number)

    def bond_too_low(self, draft: Draft) -> None:
        """A coordinator that lost its bond cannot go on before it bonds anew."""
        root, rule_hash = draft.disputed().committed.model_root, bytes([1]) * 32
        call = calls.open_round(RoundId(draft.number), root, rule_hash, self.next + 100)
        assert self.world.reason(COORDINATOR, call) == "stake: coordinator bond too low"
        self.world.send(COORDINATOR, calls.bond_coordinator(Wei(BOND)))
        self.model.bond += BOND
        self.outcomes["open", "stake: coordinator bond too low"] += 1
        self.outcomes["bond", ""] += 1

    @precondition(lambda self: any(r.status == SEALED for r in self.model.rounds.values()))
    @rule()
    def settle(self) -> None:
        """The lowest first: others are refused, which the federation's machine tries."""
        sealed = [n for n, r in self.model.rounds.items() if r.status == SEALED]
        self.settle_if_possible(min(sealed))

    def settle_if_possible(self, number: int) -> None:
        below = [r for r in self.model.rounds.values() if r.number < number and r.status == SEALED]
        if below or self.model.rounds[number].status != SEALED:
            return
        round_ = self.drafts[number].disputed()
        self.world.settle(round_)
        self.outcomes["settle", ""] += 1
        self.rounds[number] = round_
        self.model.settle(number, self.world.now)

    def can_finalize(self) -> bool:
        settled = [r for r in self.model.rounds.values() if r.status == SETTLED]
        return any(self.next >= self.model.window_end(r) for r in settled)

    @useful(can_finalize)
    @rule(at=PICK)
    def finalize(self, at: int) -> None:
        number = self.pick(at)
        expected = self.model.finalize(number, self.next)
        call = calls.finalize_round(RoundId(number))
        self.expect("finalize", expected, STRANGER.address, call)

    # Questions and answers ---------------------------------------------------------------

    @precondition(lambda self: self.rounds)
    @rule(
        who=CHALLENGERS,
        at=PICK,
        kind=st.sampled_from(KINDS),
        deposit=st.sampled_from([DEPOSIT] * 12 + [0, DEPOSIT + 1]),
    )
    def ask(self, who: str, at: int, kind: CaseKind, deposit: int) -> None:
        self.ask_about(who, self.pick(at), kind, deposit)

    def ask_about(self, who: str, number: int, kind: CaseKind, deposit: int = DEPOSIT) -> str:
        call = referee_calls.ask(question(self.rounds[number], kind), Wei(deposit))
        expected = self.model.ask(who, number, kind, deposit, self.next)
        return self.expect(f"ask {kind.name}", expected, who, call)

    @useful(lambda self: self.some(is_waiting))
    @rule(
        at=PICK,
        right=st.sampled_from([True, True, False]),
        other=st.sampled_from([False] * 9 + [True]),
    )
    def answer(self, at: int, right: bool, other: bool) -> None:
        """As asked, rightly or not; anybody may, but not answer with a column."""
        case = self.case(at, is_waiting)
        self.answer_case(case, STRANGER.address if other else COORDINATOR.address, right)

    def answer_case(self, case: ModelCase, who: str, right: bool) -> str:
        if case.kind.is_column and not case.rooted:
            column = self.column(case, right)
            answer = ColumnAnswer(case.number, column.root, column.lo, column.hi)
            expected = self.model.answer_column(who, case.number, self.next, honest=right)
            call = referee_calls.answer_column(answer)
            return self.expect(f"answer {case.kind.name} {right}", expected, who, call)
        if case.kind.is_column:
            label = f"answer entry {right}"
            evidence = self.entry_answer(case, right)
            flaw = "" if right else "dispute: no such entry"
        else:
            label = f"answer {case.kind.name} {right}"
            evidence = data_answer(self.rounds[case.round], case, right=right)
            flaw = "" if right else WRONG_DATA[case.kind]
        expected = self.model.answer(case.number, self.next, flaw)
        return self.expect(label, expected, who, referee_calls.answer(case.number, evidence))

    def entry_answer(self, case: ModelCase, right: bool) -> Evidence:
        """The demanded entry of the column the case was answered with; or another in its place."""
        column, asked = self.column(case, case.honest), case.entry or 0
        at = asked if right else (asked + 1) % len(column.entries)
        words = (case.number, int(case.kind), column.entries[at], column.path(asked))
        return Evidence("answer_entry", words)

    def column(self, case: ModelCase, honest: bool) -> Column:
        right = column_of(self.rounds[case.round], case.kind, PARAMETER)
        return right if honest else falsified(right)

    @useful(lambda self: self.some(lambda case: is_answered(case) and case.rooted))
    @rule(
        who=CHALLENGERS,
        at=PICK,
        own=st.sampled_from([True] * 6 + [False]),
        index=st.integers(0, len(UPDATES) + 1),
    )
    def demand_entry(self, who: str, at: int, own: bool, index: int) -> None:
        case = self.case(at, lambda case: is_answered(case) and case.rooted)
        self.demand(case, case.challenger if own else who, index)

    def demand(self, case: ModelCase, who: str, index: int) -> str:
        expected = self.model.demand_entry(who, case.number, index, len(UPDATES), self.next)
        call = referee_calls.demand_entry(case.number, index, Wei(DEPOSIT))
        return self.expect("demand_entry", expected, who, call)

    @precondition(lambda self: self.live())
    @rule(
        who=CHALLENGERS,
        at=PICK,
        kind=st.sampled_from(KINDS),
        right=st.booleans(),
        entries=st.lists(st.integers(0, len(UPDATES)), max_size=3),
        refute=st.booleans(),
    )
    def argue(
        self, who: str, at: int, kind: CaseKind, right: bool, entries: list[int], refute: bool
    ) -> None:
        """A case as it goes when nobody is late, mostly about what is wrong."""
        number = self.pick(at)
        wrong = self.model.rounds[number].wrong
        kind = wrong if wrong and wrong.is_column and at % 3 else kind
        if self.ask_about(who, number, kind):
            return
        case = self.model.cases[len(self.model.cases)]
        if self.answer_case(case, COORDINATOR.address, right) or not kind.is_column:
            return
        for index in entries:
            if self.demand(case, who, index):
                return
            if self.answer_case(case, STRANGER.address, True):
                return
        if refute:
            self.refute_case(case)

    def is_over(self, case: ModelCase) -> bool:
        """Whether a case can be closed."""
        void = self.model.rounds[case.round].status in (VOID, FINAL)
        late = case.state == ANSWERED and self.next >= case.due
        return case.state != CLOSED and (void or late)

    # Proofs and ends ---------------------------------------------------------------------

    @precondition(lambda self: self.rounds and self.steps % 4 == 0)
    @rule(
        who=CHALLENGERS, at=PICK, kind=st.sampled_from([CaseKind.AGGREGATE, CaseKind.CONTRIBUTOR])
    )
    def convict(self, who: str, at: int, kind: CaseKind) -> None:
        number = self.pick(at)
        who = WATCHER.address if who == ATTACKER else who  # its buffer is too small
        round_ = self.rounds[number]
        evidence = (
            build.challenge_chunk(round_, PARAMETER)
            if kind is CaseKind.AGGREGATE
            else ask.challenge_signature(round_, 0)
        )
        expected = self.model.convict(who, number, kind, self.next)
        self.expect(f"convict {kind.name}", expected, who, referee_calls.convict(evidence))

    @useful(lambda self: self.some(lambda case: case.rooted and case.state != CLOSED))
    @rule(at=PICK)
    def refute(self, at: int) -> None:
        case = self.case(at, lambda case: case.rooted and case.state != CLOSED)
        if case.kind.is_column:
            self.refute_case(case)

    def refute_case(self, case: ModelCase) -> None:
        expected = self.model.refute(case.number, self.next)
        # By anyone; the bounty is the challenger's.
        call = referee_calls.convict(self.proof(case))
        self.expect(f"refute {case.kind.name} {case.honest}", expected, STRANGER.address, call)

    def proof(self, case: ModelCase) -> Evidence:
        """Against the end of a right column, against the first step of a false one."""
        round_, number = self.rounds[case.round], case.number
        column = self.column(case, case.honest)

        def entry(index: int) -> ProvenEntry:
            return ProvenEntry(column.entries[index], column.path(index))

        last = entry(len(column.entries) - 1)
        if case.kind is CaseKind.AGGREGATE:
            if case.honest:
                return build.prove_last(round_, number, PARAMETER, last)
            return build.prove_step(round_, number, PARAMETER, 0, entry(0), entry(1))
        totals = case.kind is CaseKind.TOTALS
        if case.honest:
            ends = build.prove_totals_last if totals else build.prove_payments_last
            return ends(number, last)
        step = build.prove_totals_step if totals else build.prove_payments_step
        return step(round_, number, 0, entry(0), entry(1))

    @useful(lambda self: self.some(lambda case: is_waiting(case) and self.next >= case.due))
    @rule(at=PICK)
    def timeout(self, at: int) -> None:
        case = self.case(at, lambda case: is_waiting(case) and self.next >= case.due)
        expected = self.model.timeout(case.number, self.next)
        call = referee_calls.timeout(case.number)
        self.expect("timeout", expected, STRANGER.address, call)

    @useful(lambda self: self.some(self.is_over))
    @rule(at=PICK)
    def close(self, at: int) -> None:
        case = self.case(at, self.is_over)
        expected = self.model.close(case.number, self.next)
        self.expect("close", expected, STRANGER.address, referee_calls.close(case.number))

    @useful(lambda self: any(self.model.credit.values()))
    @rule(who=CHALLENGERS, at=PICK)
    def collect(self, who: str, at: int) -> None:
        owed = [name for name, due in self.model.credit.items() if due]
        who = owed[at % len(owed)] if owed and at % ODD else who
        if who == ATTACKER:
            self.through_attacker("arm", referee_calls.collect().data, referee_calls.collect())
        expected = self.model.collect(who)
        self.expect("collect", expected, who, referee_calls.collect())

    # Time --------------------------------------------------------------------------------

    @precondition(lambda self: self.rounds and (self.steps % 3 == 0 or not self.some(is_waiting)))
    @rule(at=PICK, exact=st.booleans())
    def wait(self, at: int, exact: bool) -> None:
        """To a second at which something changes, or the one before; mostly the nearest."""
        times = [case.due for case in self.model.cases.values() if case.state != CLOSED]
        ends = [self.model.window_end(r) for r in self.model.rounds.values() if r.status == SETTLED]
        ahead = sorted(t for t in (*times, *ends) if t > self.next)
        if ahead:
            far = at % len(ahead) if at % ODD == 0 else 0
            self.world.wait_until(ahead[far] - (not exact))

    # Invariants --------------------------------------------------------------------------

    @invariant()
    def books(self) -> None:
        referee, model = self.world.referee, self.model
        assert self.world.held == model.held == referee.locked_wei() + sum(model.credit.values())
        assert referee.locked_wei() == model.locked
        assert referee.unanswered() == model.unanswered
        for who in (COORDINATOR.address, WATCHER.address, STRANGER.address, ATTACKER):
            assert referee.credit_wei(self.address(who)) == model.credit[who]
            bounty = self.world.federation.account(self.address(who)).credit_wei
            assert bounty == model.bounty[who]

    @invariant()
    def cases(self) -> None:
        """Those that the model says changed, and one other in turn."""
        assert self.world.referee.case_count() == len(self.model.cases)
        turn = self.steps % (len(self.model.cases) or 1) + 1
        for number, expected in self.model.cases.items():
            if number != turn and expected == self.cases_seen.get(number):
                continue
            self.cases_seen[number] = replace(expected)
            found = self.world.case(number)
            assert (int(found.state), found.deposit_wei) == (expected.state, expected.deposit)
            assert (found.due, found.kind) == (expected.due, expected.kind)
            assert (found.entry, found.demands) == (expected.entry, expected.demands)
            assert (found.root != bytes(32)) == expected.rooted
            assert found.challenger == self.address(expected.challenger)
            if expected.state in (WAITING, ANSWERED):
                # While a case runs its round cannot become final under it.
                state = self.world.federation.round(RoundId(expected.round))
                assert state.held_until >= expected.due

    @invariant()
    def verdicts(self) -> None:
        """The bond is cut once a conviction, and only over what the model found wrong."""
        assert self.world.bond == self.model.bond
        statuses = {
            SEALED: RoundStatus.SEALED,
            SETTLED: RoundStatus.SETTLED,
            FINAL: RoundStatus.FINAL,
            VOID: RoundStatus.VOID,
        }
        for number in list(self.model.rounds)[-MAX_LIVE - 1 :]:
            expected = statuses[self.model.rounds[number].status]
            assert self.world.federation.status(RoundId(number)) == expected

    def every_deposit_comes_back(self) -> None:
        """Invariant D2: whoever misbehaves, each case ends and all can be collected."""
        open_cases = self.some(lambda case: case.state != CLOSED)
        if open_cases:
            self.world.wait_until(max(case.due for case in open_cases))
        for case in open_cases:
            ways = (
                (self.model.timeout, referee_calls.timeout),
                (self.model.close, referee_calls.close),
            )
            for promise, make in ways:
                if case.state != CLOSED:
                    expected = promise(case.number, self.next)
                    self.expect("end", expected, STRANGER.address, make(case.number))
            assert case.state == CLOSED
        for who in [who for who, owed in self.model.credit.items() if owed]:
            self.model.collect(who)
            self.expect("collect", "", who, referee_calls.collect())
        assert self.world.held == self.model.held == 0


# What every long enough run must have reached: else the machine tests less than it seems to.
REACHED = {
    *((f"ask {kind.name}", "") for kind in CaseKind),
    *((f"answer {kind.name} True", "") for kind in CaseKind),
    *((f"answer {kind.name} False", reason) for kind, reason in WRONG_DATA.items()),
    *((f"answer {kind.name} False", "") for kind in CaseKind if kind.is_column),
    *((f"refute {kind.name} False", "") for kind in CaseKind if kind.is_column),
    *((f"refute {kind.name} True", "") for kind in CaseKind if kind.is_column),
    ("refute AGGREGATE True", "dispute: chunk is right"),
    ("refute TOTALS True", "dispute: totals are right"),
    ("refute PAYMENTS True", "dispute: payments are right"),
    ("answer entry True", ""),
    ("answer entry False", "dispute: no such entry"),
    ("answer AGGREGATE True", "role: not coordinator"),
    ("ask PAYMENTS", "dispute: round not settled"),
    ("ask AGGREGATE", "dispute: wrong deposit"),
    ("ask AGGREGATE", "dispute: round not live"),
    ("demand_entry", ""),
    ("demand_entry", "dispute: not the challenger"),
    ("demand_entry", "dispute: index out of range"),
    ("demand_entry", "dispute: too late to refute"),
    ("convict AGGREGATE", ""),
    ("convict AGGREGATE", "dispute: chunk is right"),
    ("convict CONTRIBUTOR", ""),
    ("convict CONTRIBUTOR", "dispute: signature is right"),
    ("timeout", ""),
    ("timeout", "dispute: before due"),
    ("timeout", "dispute: nothing to answer"),
    ("timeout", "round: not live"),
    ("close", ""),
    ("close", "dispute: still running"),
    ("close", "dispute: no such case"),
    ("collect", ""),
    ("collect", "collect: nothing due"),
    ("finalize", ""),
    ("finalize", "round: window open"),
    ("open", "stake: coordinator bond too low"),
}


def machine_on(world: DisputeWorld) -> type[RefereeMachine]:
    code = helper_artifact("reentrant").creation_code(())
    transactor = world.federation.transactor
    call = Call("deploy", code, Wei(0), 3_000_000, "deploy reentrant", "referee")
    attacker = transactor.send(transactor.prepare(STRANGER, call, None)).contract_address
    parts = {"world": world, "attacker": attacker, "outcomes": Counter()}
    return type("RefereeMachine", (RefereeMachine,), parts)


@pytest.mark.slow
@pytest.mark.timeout(0 if FUZZ else 600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_referee_and_model_agree_on_random_disputes(shard: int) -> None:
    machine = machine_on(DisputeWorld.create(revm=True))
    run_histories(machine, shard, steps=CALLS * 6 // 5)  # some only wait
    print(f"{share(shard)} histories, {machine.outcomes.total()} calls")
    missed = REACHED - set(machine.outcomes)
    # What is rare may be missing in a short run.
    assert len(missed) <= (0 if FUZZ else 3), missed


@pytest.mark.slow
def test_referee_and_model_agree_on_the_embedded_chain() -> None:
    world = DisputeWorld.create()
    run_histories(machine_on(world))
    world.node.close()
