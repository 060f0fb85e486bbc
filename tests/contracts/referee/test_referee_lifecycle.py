"""Disputes beside one another, void rounds, deposits, floods, re-entry, deployment."""

from dataclasses import replace

import numpy as np
import pytest
from dispute_rounds import Draft
from dispute_world import (
    ANSWER_S,
    BOND,
    COORDINATOR,
    DEPOSIT,
    STRANGER,
    UNBONDING_S,
    WATCHER,
    WINDOW_S,
    DisputeWorld,
)
from federation_world import helper_artifact

from contracts.binding import calls, referee_calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.referee import CaseState, Referee
from contracts.binding.referee_events import CaseClosed, Collected, Convicted
from coordinator.protocol.disputes import CaseKind, ColumnAnswer, Evidence
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.errors import LedgerError, TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, RoundId, Wei


def wrong(draft: Draft) -> Draft:
    draft.new_model = draft.new_model + np.int32(1)
    return draft


# --- two at once -------------------------------------------------------------------------------


def test_two_proofs_cut_the_bond_once(court: DisputeWorld) -> None:
    """In one block, by two accounts: the second is refused and nothing is lost."""
    round_ = court.commit(wrong(court.draft()))
    proofs = [referee_calls.convict(build.challenge_chunk(round_, at)) for at in (0, 1)]
    transactor = court.federation.transactor
    signed = [
        transactor.prepare(who, call, court.referee.address)
        for who, call in zip((WATCHER, STRANGER), proofs, strict=True)
    ]
    with pytest.raises(TransactionRevertedError) as caught:
        court.federation.send_batch(signed)
    assert caught.value.reason == "round: not live"
    assert court.bond == BOND // 2
    assert (court.bounty(WATCHER), court.bounty(STRANGER)) == (BOND // 4, 0)


def test_a_case_beside_a_conviction_gets_its_deposit_back(court: DisputeWorld) -> None:
    """Waiting, answered, with a demanded entry: all that was paid in."""
    round_ = court.commit(wrong(court.draft()))
    waiting = court.ask(ask.challenge_column(round_, 0))
    answered = court.ask(ask.challenge_totals(round_), who=STRANGER)
    court.answer(round_, answered)
    demanded = court.ask(ask.challenge_payments(round_))
    court.answer(round_, demanded)
    court.send(WATCHER, referee_calls.demand_entry(demanded, 1, Wei(DEPOSIT)))
    data = court.ask(ask.demand_chunk(round_, CaseKind.UPDATE, 0))
    court.convict(build.challenge_chunk(round_, 1))
    court.wait_until(court.case(data).due)
    for case_id, who, paid in (
        (waiting, WATCHER, DEPOSIT),
        (answered, STRANGER, DEPOSIT),
        (demanded, WATCHER, 2 * DEPOSIT),
        (data, WATCHER, DEPOSIT),
    ):
        if court.case(case_id).state is CaseState.WAITING:
            late = referee_calls.timeout(case_id)
            assert court.reason(STRANGER, late) == "round: not live"
        (closed,) = court.send(STRANGER, referee_calls.close(case_id)).events
        assert closed == CaseClosed(closed.place, case_id, who.address, paid)
    assert court.bond == BOND // 2
    assert court.referee.unanswered() == 0
    assert (court.deposits(WATCHER), court.deposits(STRANGER)) == (4 * DEPOSIT, DEPOSIT)
    court.check_books()
    for who in (WATCHER, STRANGER):
        before = court.deposits(who)
        (collected,) = court.send(who, referee_calls.collect()).events
        assert collected == Collected(collected.place, who.address, before)
        assert court.reason(who, referee_calls.collect()) == "collect: nothing due"
    assert court.held == 0


def test_a_case_over_a_round_voided_from_below(court: DisputeWorld) -> None:
    first = wrong(court.draft())
    one = court.commit(first)
    two = court.commit(court.draft(number=2, parent=first))
    case_id = court.ask(ask.challenge_totals(two))
    court.answer(two, case_id)
    court.convict(build.challenge_chunk(one, 0))
    assert court.federation.status(2) == RoundStatus.VOID
    court.send(STRANGER, referee_calls.close(case_id))
    assert court.deposits(WATCHER) == DEPOSIT
    court.check_books()


def test_a_conviction_of_one_round_leaves_those_below(court: DisputeWorld) -> None:
    first = court.draft()
    one = court.commit(first)
    below = court.ask(ask.challenge_totals(one))
    second = wrong(court.draft(number=2, parent=first))
    two = court.commit(second)
    court.convict(build.challenge_chunk(two, 0))
    assert court.federation.status(1) == RoundStatus.SETTLED
    court.answer(one, below)
    # Training goes on from the last sound model.
    assert court.federation.head().model_root == one.committed.new_model_root
    third = court.draft(number=3, parent=first)
    three = court.commit(third)
    assert three.committed.model_root == one.committed.new_model_root


def test_a_final_round_pays_what_was_left_in_its_cases(court: DisputeWorld) -> None:
    """Nobody called timeout: the round became final, and the question costs nothing."""
    round_ = court.commit(court.draft())
    case_id = court.ask(ask.challenge_totals(round_))
    state = court.federation.round(1)
    assert state.finalizable_at == max(state.settled_at + WINDOW_S, state.held_until)
    end = state.finalizable_at
    court.wait_until(end - 1)
    early = referee_calls.close(case_id)
    assert court.reason(STRANGER, early, at=end - 1) == "dispute: still running"
    late = referee_calls.timeout(case_id)
    assert court.reason(STRANGER, late, at=end) == "round: window closed"
    court.send(STRANGER, calls.finalize_round(RoundId(1)))
    court.send(STRANGER, early)
    assert court.deposits(WATCHER) == DEPOSIT
    assert court.federation.status(1) == RoundStatus.FINAL
    court.check_books()


def test_a_round_is_not_final_while_it_is_disputed(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    settled = court.now
    court.wait_until(settled + WINDOW_S - 1)
    case_id = court.ask(ask.challenge_totals(round_))
    held = court.case(case_id).due + ANSWER_S
    snapshot = court.node.snapshot()
    court.wait_until(held - 1)
    finalize = calls.finalize_round(RoundId(1))
    assert court.reason(STRANGER, finalize, at=held - 1) == "round: window open"
    court.send(STRANGER, finalize, at=held)
    court.node.revert(snapshot)
    court.forget()
    court.wait_until(held - 1)
    court.send(STRANGER, referee_calls.timeout(case_id), at=held - 1)
    assert court.federation.status(1) == RoundStatus.VOID


# --- floods ------------------------------------------------------------------------------------


def test_a_flood_of_questions_gives_time_to_answer(court: DisputeWorld) -> None:
    """Up to four times the usual, however many there are; answers shorten the queue again."""
    round_ = court.commit(court.draft())
    question = ask.demand_record(round_, CaseKind.RULE)
    signed = [
        court.federation.transactor.prepare(
            WATCHER, referee_calls.ask(question, Wei(DEPOSIT)), court.referee.address
        )
        for _ in range(140)
    ]
    for start in range(0, 140, 70):
        court.federation.send_batch(signed[start : start + 70])
    delays = []
    for number in range(1, 141):
        case = court.case(number)
        opened = court.referee.rpc.block(court.block_of(number)).timestamp
        delays.append(case.due - opened)
    assert delays[:4] == [ANSWER_S, ANSWER_S + 1, ANSWER_S + 2, ANSWER_S + 3]
    assert delays[120:] == [4 * ANSWER_S] * 20
    assert court.referee.unanswered() == 140
    assert (
        court.federation.round(1).held_until
        == max(court.case(number).due for number in range(1, 141)) + ANSWER_S
    )
    for number in range(1, 141):
        if court.now < court.case(number).due - 1:
            court.answer(round_, number)
    assert court.referee.unanswered() == 0
    assert court.ask(question) == 141
    assert court.case(141).due == court.now + ANSWER_S
    court.check_books()


# --- who may call what -------------------------------------------------------------------------


def test_the_federation_listens_to_no_one_else(court: DisputeWorld) -> None:
    """Only the referee convicts: calling the examiners directly changes nothing."""
    round_ = court.commit(wrong(court.draft()))
    evidence = build.challenge_chunk(round_, 0)
    data = referee_calls.evidence_data(evidence)
    examiner = court.referee.settings.aggregate_examiner
    result = court.referee.rpc.call(examiner, data)
    assert result[:32] == court.fraud_tag
    assert int.from_bytes(result[32:64], "big") == 1
    assert court.federation.status(1) == RoundStatus.SETTLED


def test_every_case_call_of_a_case_that_is_not_there(court: DisputeWorld) -> None:
    rule = Evidence("answer_rule", (7, build.rule_words(court.draft().rule)))
    expected = {
        "dispute: nothing to answer": [
            referee_calls.timeout(7),
            referee_calls.answer(7, rule),
        ],
        "dispute: no such case": [referee_calls.close(7), referee_calls.close(0)],
        "dispute: no such column": [referee_calls.demand_entry(7, 0, Wei(DEPOSIT))],
    }
    for reason, some in expected.items():
        for call in some:
            assert court.reason(WATCHER, call) == reason
    column = referee_calls.answer_column(ColumnAnswer(7, b"\1" * 32, 0, 0))
    assert court.reason(COORDINATOR, column) == "dispute: nothing to answer"
    assert court.referee.case(7) is None


def test_a_data_demand_is_no_column(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(ask.demand_record(round_, CaseKind.RULE))
    column = referee_calls.answer_column(ColumnAnswer(case_id, b"\1" * 32, 0, 0))
    assert court.reason(COORDINATOR, column) == "dispute: other kind of case"
    entry = referee_calls.demand_entry(case_id, 0, Wei(DEPOSIT))
    assert court.reason(WATCHER, entry) == "dispute: no such column"


def test_a_column_is_not_answered_twice(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(ask.challenge_totals(round_))
    court.answer(round_, case_id)
    court.send(WATCHER, referee_calls.demand_entry(case_id, 1, Wei(DEPOSIT)))
    other = referee_calls.answer_column(ColumnAnswer(case_id, b"\1" * 32, 0, 0))
    assert court.reason(COORDINATOR, other) == "dispute: other kind of case"


@pytest.mark.parametrize("function", ["answer_column", "answer", "timeout", "close", "collect"])
def test_calls_without_a_deposit_take_no_ether(court: DisputeWorld, function: str) -> None:
    rule = Evidence("answer_rule", (7, build.rule_words(court.draft().rule)))
    made = {
        "answer_column": referee_calls.answer_column(ColumnAnswer(7, b"\1" * 32, 0, 0)),
        "answer": referee_calls.answer(7, rule),
        "timeout": referee_calls.timeout(7),
        "close": referee_calls.close(7),
        "collect": referee_calls.collect(),
    }
    call = replace(made[function], value_wei=Wei(1))
    assert court.reason(COORDINATOR, call) == ""
    plain = Call("send", b"", Wei(1), 100_000, "send", "referee")
    assert court.reason(STRANGER, plain) == ""


# --- re-entry ----------------------------------------------------------------------------------


class Attacker:
    """A contract that opens cases, and calls back whenever it is paid."""

    def __init__(self, court: DisputeWorld) -> None:
        self.court = court
        code = helper_artifact("reentrant").creation_code(())
        transactor = court.federation.transactor
        call = Call("deploy", code, Wei(0), 3_000_000, "deploy reentrant")
        address = transactor.send(transactor.prepare(STRANGER, call, None)).contract_address
        assert address is not None
        self.address = address

    def do(self, function: str, *arguments: object, value: int = 0) -> None:
        data = helper_artifact("reentrant").functions[function].encode_call(arguments)
        transactor = self.court.federation.transactor
        call = Call(function, data, Wei(value), 4_000_000, "reentrant", "referee")
        transactor.send(transactor.prepare(STRANGER, call, self.address))

    def execute(self, call: Call) -> None:
        self.do("execute", self.court.referee.address, call.data, value=call.value_wei)

    def count(self, name: str) -> int:
        abi = helper_artifact("reentrant").functions[name]
        raw = self.court.federation.rpc.call(self.address, abi.encode_call(()))
        return int(abi.decode_result(raw)[0])


def test_no_function_can_be_re_entered(court: DisputeWorld) -> None:
    """While deposits are paid out, calls that would succeed on their own are refused.

    ``answer_column`` is not among them: the coordinator here is no contract.
    """
    round_ = court.commit(wrong(court.draft()))
    attacker = Attacker(court)
    attacker.execute(referee_calls.ask(ask.challenge_totals(round_), Wei(DEPOSIT)))
    spare = court.ask(ask.challenge_totals(round_))
    court.convict_by_timeout(1)
    assert court.referee.credit_wei(attacker.address) == DEPOSIT
    second = court.draft(number=2)
    second.change_leaf(0, stake_wei=1)
    again = court.commit(second)
    attacker.execute(referee_calls.ask(ask.challenge_totals(again), Wei(DEPOSIT)))
    column = court.referee.case_count()
    court.answer(again, column)
    silent = court.ask(ask.challenge_totals(again))
    asked = court.ask(ask.demand_record(again, CaseKind.RULE))
    court.wait_until(court.case(column).due - 5)
    rule = Evidence("answer_rule", (asked, build.rule_words(again.known_rule)))
    held = court.held
    questions = {
        "challenge_column": ask.challenge_column(again, 0),
        "challenge_totals": ask.challenge_totals(again),
        "challenge_payments": ask.challenge_payments(again),
        "demand_record": ask.demand_record(again, CaseKind.SCORE, 1),
        "demand_chunk": ask.demand_chunk(again, CaseKind.NEW_MODEL, 0),
    }
    payloads = {
        "close": referee_calls.close(spare),
        "convict": referee_calls.convict(ask.challenge_leaf(again, 0)),
        "answer": referee_calls.answer(asked, rule),
        "demand_entry": referee_calls.demand_entry(column, 1, Wei(DEPOSIT)),
        "collect": referee_calls.collect(),
        **{name: referee_calls.ask(q, Wei(DEPOSIT)) for name, q in questions.items()},
        "timeout": referee_calls.timeout(silent),
    }
    for name, call in payloads.items():
        snapshot = court.node.snapshot()
        if name == "timeout":
            court.wait_until(court.case(silent).due)
        if name != "collect":
            # On its own it succeeds.
            inner = court.node.snapshot()
            attacker.execute(call)
            court.node.revert(inner)
            court.forget()
        attacker.do("arm_with", court.referee.address, call.data, value=call.value_wei)
        attacker.execute(referee_calls.collect())
        assert (attacker.count("attempts"), attacker.count("successes")) == (1, 0), name
        assert court.held == held - DEPOSIT
        assert court.referee.credit_wei(attacker.address) == 0
        court.check_books()
        court.node.revert(snapshot)
        court.forget()


def test_whoever_cannot_be_paid_hurts_only_itself(court: DisputeWorld) -> None:
    round_ = court.commit(wrong(court.draft()))
    code = helper_artifact("refuser").creation_code(())
    transactor = court.federation.transactor
    call = Call("deploy", code, Wei(0), 3_000_000, "deploy refuser")
    address = transactor.send(transactor.prepare(STRANGER, call, None)).contract_address
    assert address is not None

    def execute(inner: Call) -> None:
        data = (
            helper_artifact("refuser")
            .functions["execute"]
            .encode_call((court.referee.address, inner.data))
        )
        made = Call("execute", data, inner.value_wei, 4_000_000, "refuser", "referee")
        transactor.send(transactor.prepare(STRANGER, made, address))

    execute(referee_calls.ask(ask.challenge_totals(round_), Wei(DEPOSIT)))
    other = court.ask(ask.challenge_totals(round_))
    court.convict(build.challenge_chunk(round_, 0))
    for case_id in (1, other):
        court.send(STRANGER, referee_calls.close(case_id))
    with pytest.raises(TransactionRevertedError) as caught:
        execute(referee_calls.collect())
    assert caught.value.reason == "pay: refused"
    court.send(WATCHER, referee_calls.collect())
    assert court.held == DEPOSIT == court.referee.credit_wei(address)


# --- deployment --------------------------------------------------------------------------------


def deploy(court: DisputeWorld, **changes: object) -> Referee:
    fields = {"deposit_wei": Wei(DEPOSIT), "answer_s": ANSWER_S, **changes}
    return Referee.deploy(
        court.w3,
        STRANGER,
        court.federation.address,
        transactor=court.federation.transactor,
        **fields,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deposit_wei": Wei(0)}, "referee: no deposit"),
        ({"answer_s": 0}, "referee: no time to answer"),
        ({"answer_s": UNBONDING_S // 5 + 1}, "referee: unbonding too short"),
    ],
)
def test_terms_a_referee_cannot_have(
    court: DisputeWorld, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(TransactionRevertedError) as caught:
        deploy(court, **changes)
    assert caught.value.reason == reason
    assert deploy(court, answer_s=UNBONDING_S // 5).settings.answer_s == UNBONDING_S // 5


def test_a_referee_and_its_examiners_are_of_one_federation(court: DisputeWorld) -> None:
    transactor = court.federation.transactor
    other = Federation.deploy(court.w3, STRANGER, court.federation.terms, transactor=transactor)
    mine = court.referee.settings
    examiners = (mine.aggregate_examiner, mine.record_examiner)
    call = referee_calls.deploy_referee(other.address, examiners, Wei(DEPOSIT), ANSWER_S)
    with pytest.raises(TransactionRevertedError) as caught:
        transactor.send(transactor.prepare(STRANGER, call, None))
    assert caught.value.reason == "referee: other federation"
    # One of the two is of this federation.
    deployed = referee_calls.deploy_examiner("aggregate_examiner", other.address)
    receipt = transactor.send(transactor.prepare(STRANGER, deployed, None))
    assert receipt.contract_address is not None
    mixed = (receipt.contract_address, mine.record_examiner)
    call = referee_calls.deploy_referee(other.address, mixed, Wei(DEPOSIT), ANSWER_S)
    with pytest.raises(TransactionRevertedError) as caught:
        transactor.send(transactor.prepare(STRANGER, call, None))
    assert caught.value.reason == "referee: other federation"
    nobody = referee_calls.deploy_examiner("record_examiner", Address(STRANGER.address))
    with pytest.raises(TransactionRevertedError) as caught:
        transactor.send(transactor.prepare(STRANGER, nobody, None))
    assert caught.value.reason == "referee: no federation"


def test_settings_are_what_it_was_deployed_with(court: DisputeWorld) -> None:
    settings = court.referee.settings
    assert (settings.federation, settings.coordinator) == (
        court.federation.address,
        COORDINATOR.address,
    )
    assert (settings.deposit_wei, settings.answer_s, settings.challenge_window_s) == (
        DEPOSIT,
        ANSWER_S,
        WINDOW_S,
    )
    assert court.federation.head().referee == court.referee.address
    assert court.referee.case_count() == court.referee.locked_wei() == 0
    with pytest.raises(LedgerError, match="there is no contract"):
        Referee(court.w3, Address(STRANGER.address))


def test_events_tell_the_whole_story(court: DisputeWorld) -> None:
    round_ = court.commit(wrong(court.draft()))
    case_id = court.ask(ask.challenge_column(round_, 0))
    court.answer(round_, case_id)
    column = build.expected_column(round_, 0)
    last = build.ProvenEntry(column.last, column.path(4))
    court.convict(build.prove_last(round_, case_id, 0, last))
    names = [type(event).__name__ for event in court.referee.events()]
    assert names == ["CaseOpened", "ColumnAnswered", "CaseClosed", "Convicted"]
    (convicted,) = [e for e in court.referee.events() if isinstance(e, Convicted)]
    assert (convicted.round, convicted.id, convicted.offence_text) == (1, 1, "wrong aggregate")
