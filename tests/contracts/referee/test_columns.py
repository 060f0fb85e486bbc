"""Columns: questions, answers, bisection, steps; what is refused, and when."""

from dataclasses import replace

import numpy as np
import pytest
from dispute_rounds import MEDIAN, TRIMMED_MEAN, Draft, make_rule
from dispute_world import (
    ANSWER_S,
    BOND,
    COORDINATOR,
    DEPOSIT,
    RULE,
    STRANGER,
    WATCHER,
    WINDOW_S,
    DisputeWorld,
    terms,
)

from contracts.binding import referee_calls
from contracts.binding.referee import CaseState, published_entry
from contracts.binding.referee_events import (
    Answered,
    CaseClosed,
    CaseOpened,
    ColumnAnswered,
    EntryDemanded,
)
from coordinator.protocol.disputes import (
    CaseKind,
    Column,
    ColumnAnswer,
    DisputedRound,
    Evidence,
    FaultKind,
    ProvenEntry,
    Question,
    column_of,
    find_faults,
    moves_against,
    next_move,
)
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.disputes.columns import aggregate_column
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Rule, Wei

KINDS = {
    "fedavg": make_rule(),
    "learning rate": make_rule(server_lr_q16=100_000),
    "median": make_rule(kind=MEDIAN),
    "trimmed mean": make_rule(kind=TRIMMED_MEAN, num_byzantine=1),
}


def reply(case_id: int, column: Column) -> ColumnAnswer:
    return ColumnAnswer(case_id, column.root, column.lo, column.hi)


def proven(column: Column, index: int) -> ProvenEntry:
    return ProvenEntry(column.entries[index], column.path(index))


def altered(column: Column, index: int, by: int = 1) -> Column:
    """The column with one number of one entry changed."""
    entries = list(column.entries)
    entries[index] = (entries[index][0] + by, *entries[index][1:])
    return replace(column, entries=tuple(entries))


class Cheat:
    """A round that may be wrong, and a coordinator that answers with any column."""

    def __init__(self, court: DisputeWorld, draft: Draft) -> None:
        self.court = court
        self.round = court.commit(draft)

    def asked(self, question: Question, column: Column) -> int:
        """Open a case and answer it."""
        case_id = self.court.ask(question)
        call = referee_calls.answer_column(reply(case_id, column))
        self.court.send(COORDINATOR, call)
        return case_id

    def bisect(self, case_id: int, expected: Column, claimed: Column) -> Evidence:
        """Demand entries until one proof is left, and return it."""
        court, round_ = self.court, self.round
        record = court.case(case_id)
        known: dict[int, ProvenEntry] = {}
        while True:
            entries = {index: found.entry for index, found in known.items()}
            move = next_move(expected, record.root, entries)
            if move.outcome != "demand":
                break
            demand = referee_calls.demand_entry(case_id, move.index, Wei(DEPOSIT))
            court.send(WATCHER, demand)
            evidence = Evidence(
                "answer_entry",
                (
                    case_id,
                    int(record.kind),
                    claimed.entries[move.index],
                    claimed.path(move.index),
                ),
            )
            receipt = court.send(COORDINATOR, referee_calls.answer(case_id, evidence))
            (answered,) = [e for e in receipt.events if isinstance(e, Answered)]
            _, known[move.index] = published_entry(answered)
        if move.outcome == "first":
            return build.prove_first(case_id, record.kind, known[0])
        if move.outcome == "last":
            return last_proof(
                round_, record.kind, case_id, record.index, proven(claimed, move.index)
            )
        before = known.get(move.index, proven(claimed, 0))
        return step_proof(
            round_, record.kind, case_id, record.index, move.index, before, known[move.index + 1]
        )


def step_proof(
    round_: DisputedRound,
    kind: CaseKind,
    case_id: int,
    parameter: int,
    at: int,
    before: ProvenEntry,
    after: ProvenEntry,
) -> Evidence:
    if kind is CaseKind.AGGREGATE:
        return build.prove_step(round_, case_id, parameter, at, before, after)
    if kind is CaseKind.TOTALS:
        return build.prove_totals_step(round_, case_id, at, before, after)
    return build.prove_payments_step(round_, case_id, at, before, after)


def last_proof(
    round_: DisputedRound, kind: CaseKind, case_id: int, parameter: int, last: ProvenEntry
) -> Evidence:
    if kind is CaseKind.AGGREGATE:
        return build.prove_last(round_, case_id, parameter, last)
    if kind is CaseKind.TOTALS:
        return build.prove_totals_last(case_id, last)
    return build.prove_payments_last(case_id, last)


def shifted(court: DisputeWorld, rule: Rule, parameter: int = 0) -> Cheat:
    draft = court.draft(rule=rule)
    draft.new_model = draft.new_model.copy()
    draft.new_model[parameter] += 1
    return Cheat(court, draft)


# --- an aggregate that is wrong ----------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_right_column_contradicts_a_wrong_model(court: DisputeWorld, name: str) -> None:
    cheat = shifted(court, KINDS[name])
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    proof = cheat.bisect(case_id, column, column)
    assert proof.function == "prove_last"
    assert court.convict(proof, who=STRANGER) == "wrong aggregate"
    assert court.federation.status(1) == RoundStatus.VOID
    # The one who opened the case is paid, not the one who sent the last proof.
    assert (court.bounty(WATCHER), court.bounty(STRANGER)) == (BOND // 4, 0)
    assert court.deposits(WATCHER) == DEPOSIT
    court.check_books()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("at", range(5))
def test_a_false_entry_is_found_and_proven(court: DisputeWorld, name: str, at: int) -> None:
    """Whichever entry is false, the first included: with it the column seems to fit the model."""
    cheat = shifted(court, KINDS[name])
    right = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    false = replace(
        right,
        entries=(
            *right.entries[:at],
            *((e[0] + (1 << 24), *e[1:]) for e in right.entries[at:]),
        ),
    )
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), false)
    proof = cheat.bisect(case_id, right, false)
    assert proof.function == ("prove_first" if at == 0 else "prove_step")
    assert court.convict(proof) == "wrong aggregate"
    assert court.deposits(WATCHER) == DEPOSIT * (1 + (4 if at < 2 else 3))
    court.check_books()


@pytest.mark.parametrize("claim", [(-8, 4), (1, 6), (1, 1), (4, 4), (2, 3), (-9, -9), (7, 9)])
def test_false_order_statistics_are_proven(court: DisputeWorld, claim: tuple[int, int]) -> None:
    """Counted by its own claim a wrong pair is not what is kept: of -8, 1, 4, 6 that is 1, 4."""
    cheat = shifted(court, KINDS["trimmed mean"])
    weights = [entry.leaf.weight for entry in cheat.round.known_entries]
    values = build.parameter_values(cheat.round, 0)
    column = aggregate_column(KINDS["trimmed mean"], weights, values, claimed=claim)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    assert court.convict(cheat.bisect(case_id, column, column)) == "wrong aggregate"


@pytest.mark.parametrize("word", range(5))
@pytest.mark.parametrize("extreme", [2**255 - 1, -(2**255), 2**254])
def test_no_claim_escapes_by_overflowing(court: DisputeWorld, word: int, extreme: int) -> None:
    """Entries are any words the coordinator likes: checks wrap, and never revert on them."""
    for rule in (KINDS["fedavg"], KINDS["trimmed mean"]):
        snapshot = court.node.snapshot()
        cheat = shifted(court, rule)
        right = column_of(cheat.round, CaseKind.AGGREGATE, 0)
        last = list(right.last)
        last[word] = extreme
        false = replace(right, entries=(*right.entries[:-1], tuple(last)))
        case_id = cheat.asked(ask.challenge_column(cheat.round, 0), false)
        step = build.prove_step(cheat.round, case_id, 0, 3, proven(false, 3), proven(false, 4))
        assert court.convict(step) == "wrong aggregate"
        court.node.revert(snapshot)
        court.forget()


@pytest.mark.parametrize("word", range(5))
def test_the_last_entry_may_be_any_word(court: DisputeWorld, word: int) -> None:
    rule = KINDS["trimmed mean"]
    cheat = shifted(court, rule)
    right = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    last = list(right.last)
    last[word] = 2**255 - 1
    false = replace(right, entries=(*right.entries[:-1], tuple(last)))
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), false)
    assert court.convict(build.prove_last(cheat.round, case_id, 0, proven(false, 4))) == (
        "wrong aggregate"
    )


def test_an_overflow_has_no_right_column(court: DisputeWorld) -> None:
    top = np.array([2**31 - 1, 0, 0, 0, 0], np.int32)
    new = np.array([2**31 - 1, -200, 300, 0, 7], np.int32)
    cheat = Cheat(court, court.draft([top], [1], new_model=new))
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    assert court.convict(cheat.bisect(case_id, column, column)) == "wrong aggregate"


# --- totals and payments -----------------------------------------------------------------------


def wrong_totals(draft: Draft) -> None:
    draft.total_examples += 1


def wrong_stake(draft: Draft) -> None:
    draft.total_stake -= 1


def wrong_weight(draft: Draft) -> None:
    draft.change_leaf(0, weight=draft.entries[0].leaf.weight - 1)


def wrong_score_total(draft: Draft) -> None:
    draft.total_score += 1


def wrong_payment(draft: Draft) -> None:
    draft.paid += 1


WRONG = {
    "examples": (wrong_totals, CaseKind.TOTALS, "wrong totals"),
    "stake": (wrong_stake, CaseKind.TOTALS, "wrong totals"),
    "weight": (wrong_weight, CaseKind.TOTALS, "wrong totals"),
    "score": (wrong_score_total, CaseKind.PAYMENTS, "wrong payments"),
    "paid": (wrong_payment, CaseKind.PAYMENTS, "wrong payments"),
}


def question_of(round_: DisputedRound, kind: CaseKind) -> Question:
    builders = {CaseKind.TOTALS: ask.challenge_totals, CaseKind.PAYMENTS: ask.challenge_payments}
    return builders[kind](round_)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sums_are_proven(court: DisputeWorld, name: str) -> None:
    change, kind, offence = WRONG[name]
    draft = court.draft()
    change(draft)
    cheat = Cheat(court, draft)
    kinds = {fault.kind for fault in find_faults(cheat.round)}
    assert FaultKind[kind.name] in kinds
    column = column_of(cheat.round, kind)
    case_id = cheat.asked(question_of(cheat.round, kind), column)
    assert court.convict(cheat.bisect(case_id, column, column)) == offence


@pytest.mark.parametrize("kind", [CaseKind.TOTALS, CaseKind.PAYMENTS])
@pytest.mark.parametrize("at", range(5))
def test_false_sums_are_found_and_proven(court: DisputeWorld, kind: CaseKind, at: int) -> None:
    cheat = Cheat(court, court.draft())
    right = column_of(cheat.round, kind)
    false = altered(right, at)
    case_id = cheat.asked(question_of(cheat.round, kind), false)
    if at == 4:
        last = last_proof(cheat.round, kind, case_id, 0, proven(false, 4))
        snapshot = court.node.snapshot()
        assert court.convict(last).startswith("wrong ")
        court.node.revert(snapshot)
        court.forget()
    if at == 0:
        proof = build.prove_first(case_id, kind, proven(false, 0))
    else:
        before, after = proven(false, at - 1), proven(false, at)
        proof = step_proof(cheat.round, kind, case_id, 0, at - 1, before, after)
    assert court.convict(proof) == f"wrong {kind.name.lower()}"


def test_payments_are_of_settled_rounds(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft(), settled=False)
    call = referee_calls.ask(ask.challenge_payments(round_), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: round not settled"


# --- an honest coordinator ---------------------------------------------------------------------


QUESTIONS = [CaseKind.AGGREGATE, CaseKind.TOTALS, CaseKind.PAYMENTS]


def honest_case(
    court: DisputeWorld, kind: CaseKind, rule: Rule = RULE
) -> tuple[DisputedRound, int]:
    round_ = court.commit(court.draft(rule=rule))
    question = (
        ask.challenge_column(round_, 0) if kind is CaseKind.AGGREGATE else question_of(round_, kind)
    )
    return round_, court.ask(question)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", QUESTIONS)
def test_no_proof_holds_against_a_right_column(
    court: DisputeWorld, kind: CaseKind, name: str
) -> None:
    round_, case_id = honest_case(court, kind, KINDS[name])
    court.answer(round_, case_id)
    column = column_of(round_, kind, 0)
    first = build.prove_first(case_id, kind, proven(column, 0))
    assert court.refused(first) == "dispute: entry is right"
    for at in range(4):
        step = step_proof(round_, kind, case_id, 0, at, proven(column, at), proven(column, at + 1))
        assert court.refused(step) == "dispute: step is right"
    last = last_proof(round_, kind, case_id, 0, proven(column, 4))
    assert (
        court.refused(last)
        == {
            CaseKind.AGGREGATE: "dispute: chunk is right",
            CaseKind.TOTALS: "dispute: totals are right",
            CaseKind.PAYMENTS: "dispute: payments are right",
        }[kind]
    )


@pytest.mark.parametrize("kind", QUESTIONS)
def test_entries_prove_their_place(court: DisputeWorld, kind: CaseKind) -> None:
    round_, case_id = honest_case(court, kind)
    court.answer(round_, case_id)
    column = column_of(round_, kind, 0)
    good = [proven(column, i) for i in range(5)]
    # An entry of another place, a path of another place, one too short, one too long.
    wrong = [
        (good[1], good[1]),
        (good[0], ProvenEntry(good[1].entry, good[2].path)),
        (good[0], ProvenEntry(good[1].entry, good[1].path[:-1])),
        (good[0], ProvenEntry(good[1].entry, (*good[1].path, bytes(32)))),
        (good[0], ProvenEntry(good[1].entry, ())),
        (good[0], ProvenEntry((9, 9, 9, 9, 9), good[1].path)),
    ]
    refusals = [
        court.refused(step_proof(round_, kind, case_id, 0, 0, before, after))
        for before, after in wrong
    ]
    assert refusals == [
        "dispute: no such entry",
        "dispute: no such entry",
        "dispute: proof too short",
        "dispute: proof too long",
        "dispute: proof too short",
        "dispute: no such entry",
    ]
    # The wrong contributor between two entries.
    step = step_proof(round_, kind, case_id, 0, 1, good[0], good[1])
    assert court.refused(step) == "dispute: no such entry"


def test_a_column_of_another_case_is_no_answer(court: DisputeWorld) -> None:
    """Two columns of one round: the proof of one says nothing of the other."""
    cheat = shifted(court, RULE)
    wrong = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    right = column_of(cheat.round, CaseKind.AGGREGATE, 1)
    first = cheat.asked(ask.challenge_column(cheat.round, 0), wrong)
    second = cheat.asked(ask.challenge_column(cheat.round, 1), right)
    crossed = build.prove_last(cheat.round, second, 1, proven(wrong, 4))
    assert court.refused(crossed) == "dispute: no such entry"
    swapped = build.prove_last(cheat.round, second, 0, proven(right, 4))
    # The chunk is the same one; the contract takes the parameter from the case.
    assert court.refused(swapped) == "dispute: chunk is right"
    for case_id in (3, 0, 2**255):
        missing = build.prove_last(cheat.round, case_id, 0, proven(wrong, 4))
        assert court.refused(missing) == "dispute: other kind of case"
    totals = build.prove_totals_last(first, proven(wrong, 4))
    assert court.refused(totals) == "dispute: other kind of case"
    assert court.convict(build.prove_last(cheat.round, first, 0, proven(wrong, 4)))


def test_an_unanswered_case_has_no_column(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    # The root of nothing is zero: no entry leads there.
    proof = build.prove_totals_last(case_id, ProvenEntry((1, 0, 0, 0, 0), ()))
    assert court.refused(proof) == "dispute: proof too short"
    assert round_.committed.n == 4


# --- who may do what, until when ---------------------------------------------------------------


def test_opening_a_case(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    question = ask.challenge_column(round_, 3)
    receipt = court.send(WATCHER, referee_calls.ask(question, Wei(DEPOSIT)))
    (opened,) = receipt.events
    assert opened == CaseOpened(
        opened.place, 1, 1, WATCHER.address, CaseKind.AGGREGATE, 3, 0, court.now + ANSWER_S
    )
    case = court.case(1)
    assert (case.state, case.deposit_wei, case.root) == (CaseState.WAITING, DEPOSIT, bytes(32))
    assert (court.referee.unanswered(), court.referee.locked_wei(), court.held) == (
        1,
        DEPOSIT,
        DEPOSIT,
    )
    # Held until the answer can be refuted.
    held = court.federation.round(1).held_until
    assert held == court.now + 2 * ANSWER_S


@pytest.mark.parametrize("value", [0, DEPOSIT - 1, DEPOSIT + 1])
def test_the_deposit_is_exact(court: DisputeWorld, value: int) -> None:
    round_ = court.commit(court.draft())
    for question in (
        ask.challenge_column(round_, 0),
        ask.challenge_totals(round_),
        ask.challenge_payments(round_),
        ask.demand_record(round_, CaseKind.RULE),
        ask.demand_chunk(round_, CaseKind.NEW_MODEL, 0),
    ):
        call = referee_calls.ask(question, Wei(value))
        assert court.reason(WATCHER, call) == "dispute: wrong deposit"


def test_only_the_coordinator_answers_with_a_column(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    call = referee_calls.answer_column(reply(case_id, column_of(round_, CaseKind.TOTALS)))
    assert court.reason(STRANGER, call) == "role: not coordinator"
    (answered,) = court.send(COORDINATOR, call).events
    assert answered == ColumnAnswered(
        answered.place, case_id, call_root(round_), 0, 0, court.now + ANSWER_S
    )
    # Once.
    assert court.reason(COORDINATOR, call) == "dispute: nothing to answer"


def call_root(round_: DisputedRound) -> bytes:
    return column_of(round_, CaseKind.TOTALS).root


def test_answers_that_are_none(court: DisputeWorld) -> None:
    _, case_id = honest_case(court, CaseKind.TOTALS)
    empty = referee_calls.answer_column(ColumnAnswer(case_id, bytes(32), 0, 0))
    assert court.reason(COORDINATOR, empty) == "dispute: empty root"
    crossed = referee_calls.answer_column(ColumnAnswer(case_id, b"\1" * 32, 2, 1))
    assert court.reason(COORDINATOR, crossed) == "dispute: lo above hi"
    missing = referee_calls.answer_column(ColumnAnswer(9, b"\1" * 32, 0, 0))
    assert court.reason(COORDINATOR, missing) == "dispute: nothing to answer"


def test_an_answer_is_due_before_its_second(court: DisputeWorld) -> None:
    """At the boundary exactly one side may act."""
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    due = court.case(case_id).due
    early = referee_calls.timeout(case_id)
    snapshot = court.node.snapshot()
    court.wait_until(due - 1)
    assert court.reason(WATCHER, early, at=due - 1) == "dispute: before due"
    court.node.revert(snapshot)
    court.forget()
    snapshot = court.node.snapshot()
    court.wait_until(due - 1)
    court.answer(round_, case_id, at=due - 1)
    assert court.reason(WATCHER, early, at=due) == "dispute: nothing to answer"
    court.node.revert(snapshot)
    court.forget()
    court.wait_until(due)
    late = referee_calls.answer_column(reply(case_id, column_of(round_, CaseKind.TOTALS)))
    assert court.reason(COORDINATOR, late, at=due) == "dispute: too late to answer"
    court.send(STRANGER, referee_calls.timeout(case_id))
    assert court.bounty(WATCHER) == BOND // 4
    assert court.deposits(WATCHER) == DEPOSIT
    assert court.federation.status(1) == RoundStatus.VOID
    court.check_books()


def test_silence_is_convicted_at_its_second(court: DisputeWorld) -> None:
    _, case_id = honest_case(court, CaseKind.AGGREGATE)
    due = court.case(case_id).due
    court.wait_until(due)
    receipt = court.send(STRANGER, referee_calls.timeout(case_id), at=due)
    closed, convicted = receipt.events
    assert closed == CaseClosed(closed.place, case_id, WATCHER.address, DEPOSIT)
    assert convicted.offence_text == "no answer"
    assert (convicted.id, convicted.prover) == (case_id, WATCHER.address)
    again = referee_calls.timeout(case_id)
    assert court.reason(STRANGER, again) == "dispute: nothing to answer"


def test_refuting_ends_where_closing_begins(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    proof = build.prove_last(cheat.round, case_id, 0, proven(column, 4))
    due = court.case(case_id).due
    assert due == court.now + ANSWER_S
    early = referee_calls.close(case_id)
    court.wait_until(due - 1)
    assert court.reason(STRANGER, early, at=due - 1) == "dispute: still running"
    snapshot = court.node.snapshot()
    court.node.revert(snapshot)
    court.forget()
    assert court.refused(proof, at=due) == "dispute: too late to refute"
    demand = referee_calls.demand_entry(case_id, 0, Wei(DEPOSIT))
    assert court.reason(WATCHER, demand) == "dispute: too late to refute"
    (closed,) = court.send(STRANGER, early).events
    assert closed == CaseClosed(closed.place, case_id, COORDINATOR.address, DEPOSIT)
    assert court.deposits(COORDINATOR) == DEPOSIT
    assert court.reason(STRANGER, early) == "dispute: no such case"
    assert court.refused(proof) == "dispute: no such column"
    court.check_books()
    # The fraud is not lost: another case, or the direct way.
    assert court.convict(build.challenge_chunk(cheat.round, 0)) == "wrong aggregate"


def test_the_last_second_to_refute(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    due = court.case(case_id).due
    court.wait_until(due - 1)
    proof = build.prove_last(cheat.round, case_id, 0, proven(column, 4))
    assert court.convict(proof, at=due - 1) == "wrong aggregate"


def test_an_entry_that_is_not_published_convicts(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    right = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), altered(right, 4))
    receipt = court.send(WATCHER, referee_calls.demand_entry(case_id, 4, Wei(DEPOSIT)))
    (demanded,) = receipt.events
    assert demanded == EntryDemanded(demanded.place, case_id, 4, court.now + ANSWER_S)
    # The right entry is not in the false column.
    honest = Evidence("answer_entry", (case_id, 1, right.last, right.path(4)))
    call = referee_calls.answer(case_id, honest)
    assert court.reason(COORDINATOR, call) == "dispute: no such entry"
    court.wait_until(demanded.due)
    court.send(WATCHER, referee_calls.timeout(case_id))
    assert court.deposits(WATCHER) == 2 * DEPOSIT
    court.check_books()


def test_a_proof_need_not_wait_for_the_demanded_entry(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    court.send(WATCHER, referee_calls.demand_entry(case_id, 4, Wei(DEPOSIT)))
    proof = build.prove_last(cheat.round, case_id, 0, proven(column, 4))
    assert court.convict(proof) == "wrong aggregate"
    assert court.deposits(WATCHER) == 2 * DEPOSIT
    assert court.referee.unanswered() == 0


def test_demands_for_entries(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    call = referee_calls.demand_entry(case_id, 0, Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: no such column"
    court.answer(round_, case_id)
    assert court.reason(STRANGER, call) == "dispute: not the challenger"
    far = referee_calls.demand_entry(case_id, 5, Wei(DEPOSIT))
    assert court.reason(WATCHER, far) == "dispute: index out of range"
    for value in (0, DEPOSIT + 1):
        cheap = referee_calls.demand_entry(case_id, 0, Wei(value))
        assert court.reason(WATCHER, cheap) == "dispute: wrong deposit"
    column = column_of(round_, CaseKind.TOTALS)
    for index in range(5):
        court.send(WATCHER, referee_calls.demand_entry(case_id, index, Wei(DEPOSIT)))
        assert court.case(case_id).entry == index
        assert court.reason(WATCHER, call) == "dispute: no such column"
        # Anyone may publish what was demanded.
        (answered,) = court.answer(round_, case_id, who=STRANGER).events
        assert published_entry(answered) == (case_id, proven(column, index))
    assert court.deposits(COORDINATOR) == 0
    court.wait_until(court.case(case_id).due)
    court.send(STRANGER, referee_calls.close(case_id))
    assert court.deposits(COORDINATOR) == 6 * DEPOSIT
    court.check_books()


def test_demands_are_counted(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    court.answer(round_, case_id)
    for _ in range(32):
        court.send(WATCHER, referee_calls.demand_entry(case_id, 2, Wei(DEPOSIT)))
        court.answer(round_, case_id)
    call = referee_calls.demand_entry(case_id, 2, Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: too many demands"
    # It went on long after the window: the round was held all the time.
    assert court.federation.round(1).held_until >= court.case(case_id).due


def test_wrong_entries_do_not_answer(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    court.answer(round_, case_id)
    column = column_of(round_, CaseKind.TOTALS)
    court.send(WATCHER, referee_calls.demand_entry(case_id, 2, Wei(DEPOSIT)))
    other = Evidence("answer_entry", (case_id, 2, column.entries[1], column.path(1)))
    call = referee_calls.answer(case_id, other)
    assert court.reason(COORDINATOR, call).startswith("dispute: ")
    rule = Evidence("answer_rule", (case_id, build.rule_words(RULE)))
    # A column's entries are the aggregate examiner's business, a rule is not.
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, rule)) == ""
    # A proof is no answer, and an answer no proof.
    proof = build.prove_totals_last(case_id, proven(column, 4))
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, proof)) == (
        "dispute: totals are right"
    )
    good = Evidence("answer_entry", (case_id, 2, column.entries[2], column.path(2)))
    assert court.refused(good) == "dispute: not a proof"
    court.send(COORDINATOR, referee_calls.answer(case_id, good))


def test_an_entry_nobody_demanded_is_no_answer(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.TOTALS)
    column = column_of(round_, CaseKind.TOTALS)
    entry = Evidence("answer_entry", (case_id, 2, column.entries[0], column.path(0)))
    call = referee_calls.answer(case_id, entry)
    assert court.reason(COORDINATOR, call) == "dispute: no entry demanded"
    court.answer(round_, case_id)


def test_parameters_and_rules_are_checked_when_asked(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    for parameter in (5, 6, 2**256 - 1):
        call = referee_calls.ask(ask.challenge_column(round_, parameter), Wei(DEPOSIT))
        assert court.reason(WATCHER, call) == "dispute: index out of range"
    other = with_rule(round_, make_rule(examples_cap=99))
    call = referee_calls.ask(ask.challenge_column(other, 0), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: wrong rule"


def with_rule(round_: DisputedRound, rule: Rule) -> DisputedRound:
    return replace(round_, rule=rule)


@pytest.mark.parametrize(
    "changes",
    [
        {"server_momentum_q16": 1},
        {"chunk_values": 1025},
        {"chunk_values": 0},
        {"version": 2},
        {"kind": 0},
        {"kind": 4},
        {"dimension": 2**48 + 1},
    ],
)
def test_rules_no_contract_can_follow(court: DisputeWorld, changes: dict[str, int]) -> None:
    draft = court.draft()
    rule = make_rule(**changes)
    court.open(replace(draft, rule=rule))
    court.seal(draft.disputed())
    round_ = with_rule(draft.disputed(), rule)
    call = referee_calls.ask(ask.challenge_column(round_, 0), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: rule not provable"
    chunk = build.model_chunk(draft.disputed(), CaseKind.NEW_MODEL, 0)
    assert court.refused(build.challenge_padding(round_, chunk)) == "dispute: rule not provable"


def test_an_entry_of_a_void_round_cannot_be_demanded(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    column = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), column)
    court.convict(build.challenge_chunk(cheat.round, 0), STRANGER)
    demand = referee_calls.demand_entry(case_id, 0, Wei(DEPOSIT))
    assert court.reason(WATCHER, demand) == "dispute: round not live"


def test_a_step_is_of_its_contributor_and_its_chunks(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    right = column_of(cheat.round, CaseKind.AGGREGATE, 0)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 0), right)
    last = build.prove_last(cheat.round, case_id, 0, proven(right, 4))
    at = 4  # the base model's chunk
    base = last.arguments[at]
    other = (*last.arguments[:at], bytes([base[0] ^ 1]) + base[1:], *last.arguments[at + 1 :])
    assert court.refused(replace(last, arguments=other)) == "dispute: no such chunk"
    step = build.prove_step(cheat.round, case_id, 0, 1, proven(right, 1), proven(right, 2))
    leaf = step.arguments[2]
    for index in (4, 2**256 - 2):
        moved = (*step.arguments[:2], (leaf[0], index, *leaf[2:]), *step.arguments[3:])
        found = court.refused(replace(step, arguments=moved))
        assert found == "dispute: index out of range" if index > 4 else "dispute: no such entry"


def test_a_payment_is_of_the_score_of_its_contributor(court: DisputeWorld) -> None:
    round_, case_id = honest_case(court, CaseKind.PAYMENTS)
    court.answer(round_, case_id)
    column = column_of(round_, CaseKind.PAYMENTS)
    step = build.prove_payments_step(round_, case_id, 0, proven(column, 0), proven(column, 1))
    of_another = build.score_and_proof(round_, round_.known_entries[1].leaf.contributor)
    swapped = (*step.arguments[:3], *of_another, *step.arguments[5:])
    assert court.refused(replace(step, arguments=swapped)) == "dispute: other contributor"
    assert court.refused(step) == "dispute: step is right"


# --- windows -----------------------------------------------------------------------------------


def test_questions_end_with_the_window(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    end = court.now + WINDOW_S
    call = referee_calls.ask(ask.challenge_totals(round_), Wei(DEPOSIT))
    snapshot = court.node.snapshot()
    court.wait_until(end - 1)
    court.send(WATCHER, call, at=end - 1)
    court.node.revert(snapshot)
    court.forget()
    court.wait_until(end)
    assert court.reason(WATCHER, call, at=end) == "dispute: window closed"


def test_an_answer_may_lead_to_new_questions_but_not_for_ever(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    settled = court.now
    call = referee_calls.ask(ask.challenge_totals(round_), Wei(DEPOSIT))
    court.wait_until(settled + WINDOW_S - 1)
    court.send(WATCHER, call)
    while court.federation.round(1).held_until < settled + 2 * WINDOW_S:
        # While the round is held another window's length is left to ask.
        court.answer(round_, court.referee.case_count())
        court.wait_until(min(court.federation.round(1).held_until, settled + 2 * WINDOW_S) - 1)
        court.send(WATCHER, call)
    court.wait_until(settled + 2 * WINDOW_S)
    assert court.reason(WATCHER, call) == "dispute: window closed"


def test_a_sealed_round_waits_for_its_disputes(court: DisputeWorld) -> None:
    draft = court.draft()
    round_ = court.commit(draft, settled=False)
    court.wait_until(court.now + 10 * WINDOW_S)
    case_id = court.ask(ask.challenge_totals(round_))
    court.settle(draft.disputed())
    court.wait_until(court.case(case_id).due)
    court.send(WATCHER, referee_calls.timeout(case_id))
    assert court.federation.status(1) == RoundStatus.VOID


def test_rounds_that_are_not_live_cannot_be_asked_about(court: DisputeWorld) -> None:
    draft = court.draft()
    round_ = draft.disputed()
    call = referee_calls.ask(ask.challenge_totals(round_), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: round not live"
    court.open(draft)
    assert court.reason(WATCHER, call) == "dispute: round not live"


def test_moves_against_an_aggregate_offer_both_ways(court: DisputeWorld) -> None:
    cheat = shifted(court, RULE)
    (fault,) = find_faults(cheat.round)
    functions = [move.function for move in moves_against(cheat.round, fault)]
    assert functions == ["challenge_chunk", "challenge_column"]


def test_large_chunks_take_the_column(court: DisputeWorld) -> None:
    rule = make_rule(chunk_values=1024)
    other = DisputeWorld.create(agreed=terms(rule=rule))
    cheat = shifted(other, rule, 2)
    right = column_of(cheat.round, CaseKind.AGGREGATE, 2)
    false = altered(right, 3)
    case_id = cheat.asked(ask.challenge_column(cheat.round, 2), false)
    step = build.prove_step(cheat.round, case_id, 2, 2, proven(false, 2), proven(false, 3))
    snapshot = other.node.snapshot()
    assert other.convict(step) == "wrong aggregate"
    other.node.revert(snapshot)
    other.forget()
    last = build.prove_last(cheat.round, case_id, 2, proven(false, 4))
    assert other.convict(last) == "wrong aggregate"
    other.node.close()
