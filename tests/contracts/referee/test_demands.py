"""Demands for data: what may be asked, what answers, what silence costs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from dispute_rounds import layout_of, make_rule
from dispute_world import (
    BOND,
    COORDINATOR,
    DEPOSIT,
    STRANGER,
    WATCHER,
    DisputeWorld,
)

from benchmarks.padded_tree import padded_tree
from contracts.binding import referee_calls
from contracts.binding.calls import Call
from contracts.binding.referee import CaseState
from contracts.binding.referee_events import Answered, CaseClosed
from coordinator.protocol.disputes import (
    CaseKind,
    DisputedRound,
    Evidence,
    FaultKind,
    Question,
    answer_to,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.disputes.cases import rule_words
from coordinator.protocol.disputes.moves import challenge_chunk
from coordinator.protocol.disputes.records import score_and_proof
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, RewardLeaf, Wei

DEMANDS: dict[str, Callable[[DisputedRound], Question]] = {
    "rule": lambda r: ask.demand_record(r, CaseKind.RULE),
    "contributor": lambda r: ask.demand_record(r, CaseKind.CONTRIBUTOR, 2),
    "score": lambda r: ask.demand_record(r, CaseKind.SCORE, 3),
    "reward": lambda r: ask.demand_record(r, CaseKind.REWARD, 5),
    "update": lambda r: ask.demand_chunk(r, CaseKind.UPDATE, 2, 1),
    "base model": lambda r: ask.demand_chunk(r, CaseKind.BASE_MODEL, 0),
    "new model": lambda r: ask.demand_chunk(r, CaseKind.NEW_MODEL, 1),
}


@pytest.mark.parametrize("name", DEMANDS)
def test_an_answer_earns_the_deposit(court: DisputeWorld, name: str) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS[name](round_))
    evidence = answer_to(round_, court.case(case_id).open_case)
    # Whoever sends it: the data is what was demanded.
    receipt = court.answer(round_, case_id, who=STRANGER)
    closed, answered = receipt.events
    assert closed == CaseClosed(closed.place, case_id, COORDINATOR.address, DEPOSIT)
    assert isinstance(evidence, Evidence)
    assert answered == Answered(answered.place, case_id, referee_calls.evidence_data(evidence), 0)
    assert court.case(case_id).state is CaseState.CLOSED
    assert court.deposits(COORDINATOR) == DEPOSIT
    assert court.reason(STRANGER, referee_calls.answer(case_id, evidence)) == (
        "dispute: nothing to answer"
    )
    court.check_books()
    assert court.send(COORDINATOR, referee_calls.collect()).events[0].amount == DEPOSIT
    assert court.held == 0
    assert court.bond == BOND


@pytest.mark.parametrize("name", DEMANDS)
def test_silence_is_withholding(court: DisputeWorld, name: str) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS[name](round_))
    due = court.case(case_id).due
    court.wait_until(due - 1)
    assert court.reason(STRANGER, referee_calls.timeout(case_id), at=due - 1) == (
        "dispute: before due"
    )
    receipt = court.send(STRANGER, referee_calls.timeout(case_id), at=due)
    assert receipt.events[1].offence_text == "withheld data"
    assert court.federation.status(1) == RoundStatus.VOID
    assert (court.bounty(WATCHER), court.deposits(WATCHER)) == (BOND // 4, DEPOSIT)
    evidence = answer_to(round_, court.case(case_id).open_case)
    assert isinstance(evidence, Evidence)
    late = referee_calls.answer(case_id, evidence)
    assert court.reason(COORDINATOR, late) == "dispute: nothing to answer"
    court.check_books()


def accepts(court: DisputeWorld, call: Call) -> bool:
    """Send an answer with a member's leaf; whether its place is the member's."""
    try:
        court.send(COORDINATOR, call)
    except TransactionRevertedError as error:
        if error.reason != "dispute: wrong place":
            raise
        return False
    return True


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_reward_that_nobody_was_told_of_leaves_a_member_without_a_place(
    court: DisputeWorld, place: int
) -> None:
    """Withheld off chain, all true leaves answered on chain: that cannot be done (invariant D9)."""
    draft = court.draft()
    draft.rewards.insert(place, RewardLeaf(Address(STRANGER.address), Wei(700)))
    round_ = court.commit(draft)
    unplaced = 0
    for number, member in enumerate(round_.members, 1):
        case_id = court.ask(ask.demand_record(round_, CaseKind.REWARD, number))
        at = [leaf.contributor for leaf in round_.known_rewards].index(member)
        wei = round_.known_rewards[at].cumulative_wei
        answer = Evidence("answer_reward", (case_id, wei, round_.rewards_tree.proof(at)))
        unplaced += not accepts(court, referee_calls.answer(case_id, answer))
    assert unplaced > 0
    faults = [fault for fault in find_faults(round_) if fault.kind is FaultKind.REWARD_WITHHELD]
    assert len(faults) == unplaced
    first = case_id - len(round_.members)
    court.wait_until(court.case(case_id).due)
    court.send(WATCHER, referee_calls.timeout(first + faults[0].place))
    assert court.federation.status(1) == RoundStatus.VOID


def test_an_answer_in_the_last_second(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS["update"](round_))
    due = court.case(case_id).due
    evidence = answer_to(round_, court.case(case_id).open_case)
    assert isinstance(evidence, Evidence)
    call = referee_calls.answer(case_id, evidence)
    snapshot = court.node.snapshot()
    court.wait_until(due)
    assert court.reason(COORDINATOR, call, at=due) == "dispute: too late to answer"
    court.node.revert(snapshot)
    court.forget()
    court.wait_until(due - 1)
    court.send(COORDINATOR, call, at=due - 1)


@pytest.mark.parametrize("name", DEMANDS)
def test_only_what_was_demanded_answers(court: DisputeWorld, name: str) -> None:
    """The answers to all other demands, renumbered: none passes."""
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS[name](round_))
    others = {
        CaseKind.CONTRIBUTOR: 1,
        CaseKind.SCORE: 0,
        CaseKind.REWARD: 1,
        CaseKind.UPDATE: 0,
    }
    record = court.case(case_id).open_case
    for kind in list(CaseKind)[3:]:
        other = replace(record, kind=kind, index=others.get(kind, 0), chunk=2)
        if kind is CaseKind.RULE and record.kind is CaseKind.RULE:
            continue
        evidence = answer_to(round_, other)
        assert isinstance(evidence, Evidence)
        reason = court.reason(COORDINATOR, referee_calls.answer(case_id, evidence))
        assert reason == "" or reason.startswith("dispute: ")
    assert court.case(case_id).state is CaseState.WAITING
    court.answer(round_, case_id)


def test_a_right_answer_to_another_case_is_none(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    first = court.ask(DEMANDS["contributor"](round_))
    second = court.ask(ask.demand_record(round_, CaseKind.CONTRIBUTOR, 1))
    evidence = answer_to(round_, court.case(second).open_case)
    assert isinstance(evidence, Evidence)
    crossed = referee_calls.answer(first, evidence)
    assert court.reason(COORDINATOR, crossed) == "dispute: not an answer"
    court.answer(round_, second)
    court.answer(round_, first)


def test_a_rule_is_answered_by_its_preimage_alone(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS["rule"](round_))
    other = Evidence("answer_rule", (case_id, rule_words(make_rule(examples_cap=99))))
    call = referee_calls.answer(case_id, other)
    assert court.reason(COORDINATOR, call) == "dispute: wrong rule"


def test_a_contributor_is_answered_with_its_signature(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS["contributor"](round_))
    good = answer_to(round_, court.case(case_id).open_case)
    assert isinstance(good, Evidence)
    for changes in ({3: bytes(32)}, {4: b""}, {4: good.arguments[4] + b"\0"}):
        arguments = list(good.arguments)
        for at, value in changes.items():
            arguments[at] = value
        call = referee_calls.answer(case_id, replace(good, arguments=tuple(arguments)))
        assert court.reason(COORDINATOR, call) == "dispute: other signature"
    wrong = (*good.arguments[1][:5], 1, *good.arguments[1][6:])
    call = referee_calls.answer(
        case_id, replace(good, arguments=(case_id, wrong, *good.arguments[2:]))
    )
    assert court.reason(COORDINATOR, call) == "dispute: no such contributor"


def test_a_chunk_is_answered_from_its_own_vector(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS["new model"](round_))
    record = court.case(case_id).open_case
    base = answer_to(round_, replace(record, kind=CaseKind.BASE_MODEL))
    assert isinstance(base, Evidence)
    # The base model's chunk under the new model's name.
    crossed = replace(base, arguments=(case_id, 8, *base.arguments[2:]))
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, crossed)) == (
        "dispute: no such chunk"
    )
    kinds = replace(base, arguments=(case_id, 6, *base.arguments[2:]))
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, kinds)) == (
        "dispute: other kind of case"
    )
    good = answer_to(round_, record)
    assert isinstance(good, Evidence)
    number, kind, rule, chunk, path = good.arguments
    for data, siblings, expected in (
        (chunk[:-4], path, "dispute: wrong chunk length"),
        (chunk + bytes(4), path, "dispute: wrong chunk length"),
        (chunk, path[:-1], "dispute: proof too short"),
        (chunk, (*path, bytes(32)), "dispute: proof too long"),
        (bytes(8), path, "dispute: no such chunk"),
    ):
        evidence = replace(good, arguments=(number, kind, rule, data, siblings))
        assert court.reason(COORDINATOR, referee_calls.answer(case_id, evidence)) == expected


def test_padding_that_is_not_zero_is_no_answer(court: DisputeWorld) -> None:
    """Such a vector cannot be in the store: its chunk does not count as published."""
    draft = court.draft()
    draft.new_model_root, proof = padded_tree(draft.new_model, layout_of(draft.rule), 1)
    round_ = court.commit(draft)
    case_id = court.ask(ask.demand_chunk(round_, CaseKind.NEW_MODEL, 2))
    arguments = (case_id, 8, rule_words(draft.rule), proof.chunk, proof.siblings)
    call = referee_calls.answer(case_id, Evidence("answer_model_chunk", arguments))
    assert court.reason(COORDINATOR, call) == "dispute: padding is wrong"


def test_evidence_of_another_kind_is_not_an_answer(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(DEMANDS["rule"](round_))
    call = referee_calls.answer(
        case_id, Evidence("answer_rule", (9, rule_words(round_.known_rule)))
    )
    assert court.reason(COORDINATOR, call) == "dispute: other kind of case"
    view = referee_calls.answer(case_id, Evidence("federation", ()))
    assert court.reason(COORDINATOR, view) == "dispute: not an answer"


def test_a_proof_of_fraud_is_not_an_answer(court: DisputeWorld) -> None:
    draft = court.draft()
    draft.new_model = draft.new_model + 1
    round_ = court.commit(draft)
    case_id = court.ask(DEMANDS["update"](round_))
    fraud = challenge_chunk(round_, 0)
    assert court.referee.refusal(fraud) == ""
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, fraud)) == (
        "dispute: not an answer"
    )


def test_a_score_is_answered_with_its_own_contributor(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(ask.demand_record(round_, CaseKind.SCORE, 1))
    right = answer_to(round_, court.case(case_id).open_case)
    assert isinstance(right, Evidence)
    of_another = score_and_proof(round_, round_.known_entries[0].leaf.contributor)
    other = replace(right, arguments=(*right.arguments[:3], *of_another))
    assert court.reason(COORDINATOR, referee_calls.answer(case_id, other)) == (
        "dispute: other contributor"
    )
    court.send(COORDINATOR, referee_calls.answer(case_id, right))


# --- what may be asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "index", "expected"),
    [
        (CaseKind.RULE, 1, "dispute: index out of range"),
        (CaseKind.CONTRIBUTOR, 4, "dispute: index out of range"),
        (CaseKind.SCORE, 4, "dispute: index out of range"),
        (CaseKind.REWARD, 0, "dispute: index out of range"),
        (CaseKind.REWARD, 6, "dispute: index out of range"),
        (CaseKind.AGGREGATE, 0, "dispute: other kind of case"),
        (CaseKind.TOTALS, 0, "dispute: other kind of case"),
        (CaseKind.PAYMENTS, 0, "dispute: other kind of case"),
        (CaseKind.UPDATE, 0, "dispute: other kind of case"),
    ],
)
def test_records_that_cannot_be_demanded(
    court: DisputeWorld, kind: CaseKind, index: int, expected: str
) -> None:
    round_ = court.commit(court.draft())
    call = referee_calls.ask(ask.demand_record(round_, kind, index), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == expected


@pytest.mark.parametrize(
    ("kind", "chunk", "index", "expected"),
    [
        (CaseKind.UPDATE, 3, 0, "dispute: index out of range"),
        (CaseKind.UPDATE, 0, 4, "dispute: index out of range"),
        (CaseKind.NEW_MODEL, 3, 0, "dispute: index out of range"),
        (CaseKind.NEW_MODEL, 2**256 - 1, 0, "dispute: index out of range"),
        (CaseKind.NEW_MODEL, 0, 1, "dispute: index out of range"),
        (CaseKind.BASE_MODEL, 3, 0, "dispute: index out of range"),
        (CaseKind.RULE, 0, 0, "dispute: other kind of case"),
        (CaseKind.AGGREGATE, 0, 0, "dispute: other kind of case"),
    ],
)
def test_chunks_that_cannot_be_demanded(
    court: DisputeWorld, kind: CaseKind, chunk: int, index: int, expected: str
) -> None:
    round_ = court.commit(court.draft())
    call = referee_calls.ask(ask.demand_chunk(round_, kind, chunk, index), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == expected


@pytest.mark.parametrize("chunk_values", [0, 1025])
def test_chunks_too_large_to_publish_cannot_be_demanded(
    court: DisputeWorld, chunk_values: int
) -> None:
    """An honest coordinator could not answer."""
    draft = court.draft()
    rule = make_rule(chunk_values=chunk_values)
    court.open(replace(draft, rule=rule))
    round_ = draft.disputed()
    court.seal(round_)
    big = replace(round_, rule=rule)
    call = referee_calls.ask(ask.demand_chunk(big, CaseKind.NEW_MODEL, 0), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: rule not provable"


@pytest.mark.parametrize("kind", [CaseKind.SCORE, CaseKind.REWARD])
def test_scores_and_rewards_are_of_settled_rounds(court: DisputeWorld, kind: CaseKind) -> None:
    round_ = court.commit(court.draft(), settled=False)
    call = referee_calls.ask(ask.demand_record(round_, kind, 1), Wei(DEPOSIT))
    assert court.reason(WATCHER, call) == "dispute: round not settled"


# --- what is missing is asked for --------------------------------------------------------------


MISSING = {
    "rule": ({"rule": None}, FaultKind.RULE_WITHHELD),
    "contributors": ({"entries": None}, FaultKind.CONTRIBUTOR_WITHHELD),
    "base model": ({"base_model": None}, FaultKind.BASE_MODEL_WITHHELD),
    "new model": ({"new_model": None}, FaultKind.NEW_MODEL_WITHHELD),
    "updates": ({"updates": None}, FaultKind.UPDATE_WITHHELD),
    "scores": ({"scores": None}, FaultKind.SCORE_WITHHELD),
    "rewards": ({"rewards": None}, FaultKind.REWARD_WITHHELD),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_cannot_be_got_is_demanded(court: DisputeWorld, name: str) -> None:
    round_ = court.commit(court.draft())
    changes, kind = MISSING[name]
    seen = replace(round_, **changes)  # type: ignore[arg-type]
    fault = find_faults(seen)[0]
    assert fault.kind is kind
    (question,) = moves_against(seen, fault)
    assert isinstance(question, Question)
    case_id = court.ask(question)
    court.answer(round_, case_id)
    assert court.case(case_id).state is CaseState.CLOSED


def test_a_missing_score_and_a_missing_reward_are_demanded(court: DisputeWorld) -> None:
    """Trees with a leaf too few: only the one that is missing cannot be answered."""
    draft = court.draft()
    del draft.scores[2]
    del draft.rewards[1]
    round_ = court.commit(draft)
    faults = {fault.kind: fault for fault in find_faults(round_)}
    score, reward = faults[FaultKind.SCORE_WITHHELD], faults[FaultKind.REWARD_WITHHELD]
    assert score.place == 2
    (question,) = moves_against(round_, reward)
    case_id = court.ask(question)
    court.wait_until(court.case(case_id).due)
    court.send(WATCHER, referee_calls.timeout(case_id))
    assert court.federation.status(1) == RoundStatus.VOID
