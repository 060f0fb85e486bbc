"""Random disputes: the deployed referee and a Python model side by side.

Checks the invariants D1 to D6 of ``contracts/INVARIANTS.md`` after every call. One challenger
is a contract that re-enters whenever it is paid. ``FEDPROOF_FUZZ=1`` runs 375 histories of 200
calls, in eight shards.
"""

import os
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import pytest
from dispute_rounds import Draft
from dispute_world import (
    ANSWER_S,
    BOND,
    BOND_BPS,
    COORDINATOR,
    DEPOSIT,
    STRANGER,
    WATCHER,
    WINDOW_S,
    DisputeWorld,
)
from federation_world import helper_artifact
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from referee_model import ANSWERED, CLOSED, FINAL, SETTLED, VOID, WAITING, ModelCase, RefereeModel

from contracts import calls, referee_calls
from contracts.calls import Call
from contracts.records import RoundStatus
from coordinator.core.disputes import (
    CaseKind,
    Column,
    ColumnAnswer,
    DisputedRound,
    Evidence,
    OpenCase,
    ProvenEntry,
    answer_to,
    column_of,
)
from coordinator.core.disputes import moves as build
from coordinator.core.disputes import record_moves as ask
from coordinator.core.errors import TransactionRevertedError
from coordinator.core.types import Address, RoundId, Wei

FUZZ = os.environ.get("FEDPROOF_FUZZ") == "1"
SHARDS = 8 if FUZZ else 1
EXAMPLES, STEPS = (-(-375 // SHARDS), 200) if FUZZ else (16, 50)
ATTACKER = "the attacker"
ODD = 8  # every so many steps a rule runs even where it can have no effect
CHALLENGERS = st.sampled_from([WATCHER.address, STRANGER.address, ATTACKER])
PICK = st.integers(0, 10**6)


def useful(condition: Callable[["RefereeMachine"], object]) -> Callable:
    """Let a rule run when it can have an effect, and now and then when it cannot."""
    return precondition(
        lambda self: condition(self) or (self.steps % ODD == 0 and self.model.cases)
    )


def falsified(column: Column) -> Column:
    """The column off by one from its second entry on."""
    first, *rest = column.entries
    return Column((first, *((e[0] + 1, *e[1:]) for e in rest)), column.lo, column.hi)


def is_waiting(case: ModelCase) -> bool:
    return case.state == WAITING


def is_answered(case: ModelCase) -> bool:
    return case.state == ANSWERED and case.rooted


class RefereeMachine(RuleBasedStateMachine):
    """One history; the chain goes back to where it was when it ends."""

    world: ClassVar[DisputeWorld]
    attacker: ClassVar[Address]

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = self.world.node.snapshot()
        self.world.forget()
        self.model = RefereeModel(DEPOSIT, ANSWER_S, WINDOW_S, COORDINATOR.address, BOND, BOND_BPS)
        self.drafts: dict[int, Draft] = {}
        self.rounds: dict[int, DisputedRound] = {}
        self.steps = 0

    def teardown(self) -> None:
        self.world.node.revert(self.snapshot)
        self.world.forget()

    # Sending -----------------------------------------------------------------------------

    def address(self, who: str) -> Address:
        return self.attacker if who == ATTACKER else Address(who)

    def account(self, who: str):
        accounts = {a.address: a for a in (COORDINATOR, WATCHER, STRANGER)}
        return accounts.get(who, STRANGER)

    def outcome(self, who: str, call: Call) -> str:
        """Send, through the attacker's contract if it is the attacker; return the reason."""
        note(f"{self.next} {who[:6]} {call.label}")
        self.steps += 1
        try:
            if who == ATTACKER:
                self.through_attacker("execute", self.world.referee.address, call.data, call)
            else:
                self.world.send(self.account(who), call)
        except TransactionRevertedError as reverted:
            return reverted.reason
        return ""

    def through_attacker(self, function: str, target: Address, data: bytes, call: Call) -> None:
        raw = helper_artifact("reentrant").functions[function].encode_call((target, data))
        made = Call(function, raw, call.value_wei, 4_000_000, "attacker", "referee")
        transactor = self.world.federation.transactor
        transactor.send(transactor.prepare(STRANGER, made, self.attacker))

    @property
    def next(self) -> int:
        """Time of the next block."""
        return self.world.now + 1

    def pick(self, numbers: dict[int, object], at: int) -> int:
        return sorted(numbers)[at % len(numbers)]

    def some(self, condition: Callable[[ModelCase], object]) -> list[ModelCase]:
        return [case for case in self.model.cases.values() if condition(case)]

    def case(self, at: int, condition: Callable[[ModelCase], object]) -> ModelCase:
        """A case for which a call makes sense; seldom any."""
        sensible = self.some(condition)
        cases = sensible if sensible and at % ODD else list(self.model.cases.values())
        return cases[at % len(cases)]

    # Rounds ------------------------------------------------------------------------------

    @rule(wrong=st.booleans(), settle=st.booleans())
    def commit(self, wrong: bool, settle: bool) -> None:
        if len(self.rounds) >= 5:
            return
        if self.model.bond < BOND // 4:
            self.world.send(COORDINATOR, calls.bond_coordinator(Wei(BOND)))
            self.model.bond += BOND
        number = len(self.rounds) + 1
        draft = self.world.draft(number=number, parent=self.drafts.get(self.model.head))
        if wrong:
            draft.new_model = draft.new_model + np.int32(1)
        self.drafts[number] = draft
        self.rounds[number] = self.world.commit(draft, settled=False)
        self.model.commit(number, wrong)
        if settle:
            self.settle(number)

    @precondition(lambda self: self.rounds)
    @rule(at=PICK)
    def settle(self, at: int) -> None:
        number = at if at in self.rounds else self.pick(self.rounds, at)
        below = [r for r in self.model.rounds.values() if r.number < number and r.status != VOID]
        if self.model.rounds[number].status != "sealed":
            return
        if any(r.status == "sealed" for r in below):
            return
        round_ = self.drafts[number].disputed()
        self.world.settle(round_)
        self.rounds[number] = round_
        self.model.settle(number, self.world.now)

    @useful(lambda self: any(r.status == SETTLED for r in self.model.rounds.values()))
    @rule(at=PICK)
    def finalize(self, at: int) -> None:
        number = self.pick(self.rounds, at)
        expected = self.model.finalize(number, self.next)
        found = self.outcome(STRANGER.address, calls.finalize_round(RoundId(number)))
        assert found == expected

    # Questions and answers ---------------------------------------------------------------

    @precondition(lambda self: self.rounds)
    @rule(who=CHALLENGERS, at=PICK, column=st.booleans())
    def ask(self, who: str, at: int, column: bool) -> None:
        number = self.pick(self.rounds, at)
        round_ = self.rounds[number]
        question = (
            ask.challenge_column(round_, 0) if column else ask.demand_record(round_, CaseKind.RULE)
        )
        expected = self.model.ask(who, number, column, self.next)
        found = self.outcome(who, referee_calls.ask(question, Wei(DEPOSIT)))
        assert found == expected

    @useful(lambda self: self.some(is_waiting))
    @rule(at=PICK, honest=st.booleans())
    def answer(self, at: int, honest: bool) -> None:
        case = self.case(at, is_waiting)
        call, truth = self.reply(case, honest)
        expected = self.model.answer(case.number, self.next, honest=truth)
        assert self.outcome(COORDINATOR.address, call) == expected

    def reply(self, case: ModelCase, honest: bool) -> tuple[Call, bool]:
        """An answer to what is asked; a published entry is of the column that was answered."""
        round_ = self.rounds[case.round]
        if not case.column:
            asked = OpenCase(case.number, RoundId(case.round), CaseKind.RULE, 0, 0, None)
            data = answer_to(round_, asked)
            assert isinstance(data, Evidence)
            return referee_calls.answer(case.number, data), True
        column = self.column(case, honest)
        if not case.rooted:
            answer = ColumnAnswer(case.number, column.root, column.lo, column.hi)
            return referee_calls.answer_column(answer), honest
        column = self.column(case, case.honest)
        entry = Evidence("answer_entry", (case.number, 1, column.entries[2], column.path(2)))
        return referee_calls.answer(case.number, entry), case.honest

    def column(self, case: ModelCase, honest: bool) -> Column:
        right = column_of(self.rounds[case.round], CaseKind.AGGREGATE, 0)
        return right if honest else falsified(right)

    @useful(lambda self: self.some(is_answered))
    @rule(who=CHALLENGERS, at=PICK, own=st.sampled_from([True] * 4 + [False]))
    def demand_entry(self, who: str, at: int, own: bool) -> None:
        case = self.case(at, is_answered)
        who = case.challenger if own else who
        expected = self.model.demand_entry(who, case.number, self.next)
        found = self.outcome(who, referee_calls.demand_entry(case.number, 2, Wei(DEPOSIT)))
        assert found == expected

    def is_over(self, case: ModelCase) -> bool:
        """Whether a case can be closed."""
        void = self.model.rounds[case.round].status in (VOID, FINAL)
        late = case.state == ANSWERED and self.next >= case.due
        return case.state != CLOSED and (void or late)

    # Proofs and ends ---------------------------------------------------------------------

    @precondition(lambda self: self.rounds and self.steps % 3 == 0)
    @rule(who=st.sampled_from([WATCHER.address, STRANGER.address]), at=PICK)
    def convict(self, who: str, at: int) -> None:
        number = self.pick(self.rounds, at)
        evidence = build.challenge_chunk(self.rounds[number], 0)
        expected = self.model.convict(who, number, self.next)
        assert self.outcome(who, referee_calls.convict(evidence)) == expected

    @precondition(lambda self: self.some(lambda case: case.column))
    @rule(at=PICK)
    def refute(self, at: int) -> None:
        case = self.case(at, lambda case: case.rooted and case.state != CLOSED)
        if not case.column:
            return
        column = self.column(case, case.honest)
        last = ProvenEntry(column.last, column.path(len(column.entries) - 1))
        proof = build.prove_last(self.rounds[case.round], case.number, 0, last)
        if not case.honest:
            before, after = (ProvenEntry(column.entries[i], column.path(i)) for i in (0, 1))
            proof = build.prove_step(self.rounds[case.round], case.number, 0, 0, before, after)
        expected = self.model.refute(case.number, self.next)
        # By anyone; the bounty is the challenger's.
        assert self.outcome(STRANGER.address, referee_calls.convict(proof)) == expected

    @useful(lambda self: self.some(lambda case: is_waiting(case) and self.next >= case.due))
    @rule(at=PICK)
    def timeout(self, at: int) -> None:
        case = self.case(at, lambda case: is_waiting(case) and self.next >= case.due)
        expected = self.model.timeout(case.number, self.next)
        found = self.outcome(STRANGER.address, referee_calls.timeout(case.number))
        assert found == expected

    @useful(lambda self: self.some(self.is_over))
    @rule(at=PICK)
    def close(self, at: int) -> None:
        case = self.case(at, self.is_over)
        expected = self.model.close(case.number, self.next)
        found = self.outcome(STRANGER.address, referee_calls.close(case.number))
        assert found == expected

    @useful(lambda self: any(self.model.credit.values()))
    @rule(who=st.sampled_from([WATCHER.address, STRANGER.address, COORDINATOR.address, ATTACKER]))
    def collect(self, who: str) -> None:
        if who == ATTACKER:
            data = referee_calls.collect().data
            self.through_attacker("arm", self.world.referee.address, data, referee_calls.collect())
        expected = self.model.collect(who)
        assert self.outcome(who, referee_calls.collect()) == expected

    # Time --------------------------------------------------------------------------------

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
            assert self.world.federation.account(self.address(who)).credit_wei == model.bounty[who]

    @invariant()
    def cases(self) -> None:
        assert self.world.referee.case_count() == len(self.model.cases)
        for number, expected in self.model.cases.items():
            found = self.world.case(number)
            assert (int(found.state), found.deposit_wei) == (expected.state, expected.deposit)
            assert found.due == expected.due
            assert (found.entry is not None) == expected.entry
            assert found.demands == expected.demands
            assert (found.root != bytes(32)) == expected.rooted
            if expected.state in (WAITING, ANSWERED):
                # While a case runs its round cannot become final under it.
                state = self.world.federation.round(RoundId(expected.round))
                assert state.held_until >= expected.due

    @invariant()
    def verdicts(self) -> None:
        """The bond is cut once a conviction, and only over what the model found wrong."""
        assert self.world.bond == self.model.bond
        statuses = {
            "sealed": RoundStatus.SEALED,
            SETTLED: RoundStatus.SETTLED,
            FINAL: RoundStatus.FINAL,
            VOID: RoundStatus.VOID,
        }
        for number, round_ in self.model.rounds.items():
            assert self.world.federation.status(RoundId(number)) == statuses[round_.status]


@pytest.fixture(scope="module")
def machine() -> Iterator[type[RefereeMachine]]:
    world = DisputeWorld.create()
    code = helper_artifact("reentrant").creation_code(())
    transactor = world.federation.transactor
    call = Call("deploy", code, Wei(0), 3_000_000, "deploy reentrant", "referee")
    address = transactor.send(transactor.prepare(STRANGER, call, None)).contract_address
    assert address is not None
    RefereeMachine.world, RefereeMachine.attacker = world, address
    yield RefereeMachine
    world.node.close()


@pytest.mark.slow
@pytest.mark.timeout(0 if FUZZ else 600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_referee_and_model_agree_on_random_disputes(
    machine: type[RefereeMachine], shard: int
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not FUZZ,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if FUZZ else list(Phase),
            print_blob=True,
        ),
    )
