"""Every function of the referee against every kind of caller (invariants 16, D6).

Two are for one caller only: a column's root, which anyone could answer wrongly, and the entries of
a column, of which there are only so many. The examiners are views; ``test_referee_sources``.
"""

import re
from collections.abc import Callable

import numpy as np
import pytest
from dispute_world import COORDINATOR, DEPOSIT, MEMBERS, STRANGER, WATCHER, DisputeWorld

from contracts import compile as compiler
from contracts.binding import referee_calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.disputes import CaseKind, DisputedRound, answer_to
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.types import Wei

CALLERS = {
    "coordinator": COORDINATOR,
    "member": MEMBERS[0],
    "challenger": WATCHER,
    "stranger": STRANGER,
}
ANYONE = dict.fromkeys(CALLERS, "")
ONLY_COORDINATOR = {**dict.fromkeys(CALLERS, "role: not coordinator"), "coordinator": ""}
ONLY_CHALLENGER = {**dict.fromkeys(CALLERS, "dispute: not the challenger"), "challenger": ""}
QUESTIONS = {
    "challenge_column": lambda r: ask.challenge_column(r, 0),
    "challenge_totals": ask.challenge_totals,
    "challenge_payments": ask.challenge_payments,
    "demand_record": lambda r: ask.demand_record(r, CaseKind.SCORE, 1),
    "demand_chunk": lambda r: ask.demand_chunk(r, CaseKind.NEW_MODEL, 0),
}


def question(name: str) -> Callable[[DisputeWorld, DisputedRound], Call]:
    return lambda _, round_: referee_calls.ask(QUESTIONS[name](round_), Wei(DEPOSIT))


def open_column(court: DisputeWorld, round_: DisputedRound) -> int:
    return court.ask(ask.challenge_column(round_, 0))


def answer_column(court: DisputeWorld, round_: DisputedRound) -> Call:
    number = open_column(court, round_)
    return referee_calls.reply(number, answer_to(round_, court.case(number).open_case))


def answer(court: DisputeWorld, round_: DisputedRound) -> Call:
    number = court.ask(ask.demand_record(round_, CaseKind.RULE))
    return referee_calls.reply(number, answer_to(round_, court.case(number).open_case))


def demand_entry(court: DisputeWorld, round_: DisputedRound) -> Call:
    number = open_column(court, round_)
    court.answer(round_, number)
    return referee_calls.demand_entry(number, 1, Wei(DEPOSIT))


def timeout(court: DisputeWorld, round_: DisputedRound) -> Call:
    number = open_column(court, round_)
    court.wait_until(court.case(number).due)
    return referee_calls.timeout(number)


def close(court: DisputeWorld, round_: DisputedRound) -> Call:
    number = open_column(court, round_)
    court.answer(round_, number)
    court.wait_until(court.case(number).due)
    return referee_calls.close(number)


def collect(court: DisputeWorld, round_: DisputedRound) -> Call:
    return referee_calls.collect()


def proof(court: DisputeWorld, round_: DisputedRound) -> Call:
    return referee_calls.convict(build.challenge_chunk(round_, 0))


MATRIX: dict[str, tuple[Callable[[DisputeWorld, DisputedRound], Call], dict[str, str]]] = {
    **{name: (question(name), ANYONE) for name in QUESTIONS},
    "demand_entry": (demand_entry, ONLY_CHALLENGER),
    "answer_column": (answer_column, ONLY_COORDINATOR),
    "answer": (answer, ANYONE),
    "timeout": (timeout, ANYONE),
    "close": (close, ANYONE),
    "collect": (collect, dict.fromkeys(CALLERS, "collect: nothing due")),
    "__default__": (proof, ANYONE),
}


def test_the_matrix_covers_every_function_that_changes_state() -> None:
    changing = {
        entry.get("name", "__default__")
        for entry in load_artifact("referee").abi
        if entry["type"] in ("function", "fallback")
        and entry["stateMutability"] in ("nonpayable", "payable")
    }
    assert changing == set(MATRIX)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("function", MATRIX)
def test_who_may_call_what(court: DisputeWorld, function: str, caller: str) -> None:
    draft = court.draft()
    draft.new_model = draft.new_model + np.int32(1)
    round_ = court.commit(draft)
    make, answers = MATRIX[function]
    call = make(court, round_)
    if answers[caller]:
        assert court.reason(CALLERS[caller], call) == answers[caller]
    else:
        assert court.send(CALLERS[caller], call).events


@pytest.mark.parametrize(
    "path", sorted(compiler.SOURCE_FOLDER.rglob("*.vy")), ids=lambda path: path.stem
)
def test_every_function_that_changes_state_is_locked(path) -> None:  # type: ignore[no-untyped-def]
    text = path.read_text()
    for match in re.finditer(r"@external\n((?:@\w+\n)*)def (\w+)", text):
        decorators = match[1]
        if "@view" not in decorators and "@pure" not in decorators:
            assert "@nonreentrant" in decorators, f"{path.name}: {match[2]}"
