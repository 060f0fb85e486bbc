"""Random rounds before the deployed bytecode: honest ones never convicted, altered ones always.

These are invariants D7 and D8. A few hundred cases here; ``FEDPROOF_FUZZ=1`` runs 100,000 attempts
on honest rounds and 100,000 altered rounds, in shares (``docs/disputes.md`` has the result).
"""

import os
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from dispute_cases import (
    ALTERATIONS,
    LAYOUTS,
    NotPossible,
    layout_base,
    layout_rule,
    mutated,
    random_column_evidence,
    random_draft,
    random_evidence,
)
from dispute_rounds import Draft
from dispute_trial import Trial
from dispute_world import MEMBERS
from eth_abi.exceptions import EncodingError

from coordinator.protocol.disputes import (
    CaseKind,
    DisputedRound,
    Evidence,
    Fault,
    FaultKind,
    ProvenEntry,
    Question,
    answer_to,
    column_of,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask

FUZZ = bool(os.environ.get("FEDPROOF_FUZZ"))
SHARES = 20 if FUZZ else 4
HONEST_ATTEMPTS = 100_000 // SHARES if FUZZ else 400
ALTERED_ROUNDS = 100_000 // SHARES if FUZZ else 150
ATTEMPTS_PER_ROUND = 12
FACES = [CaseKind.AGGREGATE, CaseKind.TOTALS, CaseKind.PAYMENTS]


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return [Trial.create(layout_base(d), layout_rule(d, c)) for d, c in LAYOUTS]


def draft_on(rng: Random, trial: Trial) -> Draft:
    """An honest round, now and then stacked on another that is committed on the way."""

    def draft(parent: Draft | None) -> Draft:
        return random_draft(
            rng,
            MEMBERS,
            members=trial.members,
            bonds=trial.bonds,
            domain=trial.world.federation.domain,
            base=trial.base,
            chunk_values=trial.rule.chunk_values,
            parent=parent,
        )

    if rng.random() < 0.7:
        return draft(None)
    below = draft(None)
    trial.commit(below)
    return draft(below)


# --- honest rounds --------------------------------------------------------------------------------


def question_of(round_: DisputedRound, kind: CaseKind, parameter: int) -> Question:
    if kind is CaseKind.AGGREGATE:
        return ask.challenge_column(round_, parameter)
    return (
        ask.challenge_totals(round_) if kind is CaseKind.TOTALS else ask.challenge_payments(round_)
    )


def attempts(rng: Random, trial: Trial, round_: DisputedRound) -> Iterator[Evidence]:
    """Evidence as for a fault that is not there, half of it with one value changed."""
    parameter, kind = rng.randrange(round_.known_rule.dimension), rng.choice(FACES)
    case_id = trial.ask(question_of(round_, kind, parameter))
    column = column_of(round_, kind, parameter)
    trial.answer(case_id, column)
    for _ in range(ATTEMPTS_PER_ROUND):
        if rng.random() < 0.4:
            made = random_column_evidence(rng, round_, case_id, kind, parameter, column)
        else:
            made = random_evidence(rng, round_)
        yield mutated(rng, made) if rng.random() < 0.5 else made


def try_honest(rng: Random, trial: Trial) -> Counter[str]:
    """One honest round; the reasons for which attempts on it were refused."""
    reasons = Counter[str]()
    with trial.undone():
        round_ = trial.commit(draft_on(rng, trial))
        assert find_faults(round_) == []
        for evidence in attempts(rng, trial, round_):
            try:
                reason = trial.refusal(evidence)
            except EncodingError:  # a number below zero where there is none
                continue
            assert reason, f"an honest round was convicted: {evidence}"
            reasons[reason] += 1
    return reasons


@pytest.mark.slow
@pytest.mark.timeout(0 if FUZZ else 300)
@pytest.mark.parametrize("share", range(SHARES))
def test_no_attempt_convicts_over_an_honest_round(trials: list[Trial], share: int) -> None:
    reasons = Counter[str]()
    while (done := reasons.total()) < HONEST_ATTEMPTS:
        rng = Random(f"honest {share} {done}")
        reasons += try_honest(rng, rng.choice(trials))
    # Many different ones: the attempts reach far into the examiners.
    assert len(reasons) >= 10, reasons


# --- altered rounds -------------------------------------------------------------------------------


def answered(
    rng: Random,
    trial: Trial,
    round_: DisputedRound,
    question: Question,
    kind: CaseKind,
    place: int,
    *,
    lies: bool,
) -> Evidence:
    """Ask for a column, answer with one false entry or none; return the proof that remains."""
    case_id = trial.ask(question)
    right = column_of(round_, kind, place)
    at = rng.randrange(len(right.entries))
    false = trial.falsified(rng, right, at) if lies else right
    trial.answer(case_id, false)

    def entry(index: int) -> ProvenEntry:
        return ProvenEntry(false.entries[index], false.path(index))

    n = len(right.entries) - 1
    if false.entries == right.entries:
        if kind is CaseKind.AGGREGATE:
            return build.prove_last(round_, case_id, place, entry(n))
        ends = {
            CaseKind.TOTALS: build.prove_totals_last,
            CaseKind.PAYMENTS: build.prove_payments_last,
        }
        return ends[kind](case_id, entry(n))
    if at == 0:
        return build.prove_first(case_id, kind, entry(0))
    before, after = entry(at - 1), entry(at)
    if kind is CaseKind.AGGREGATE:
        return build.prove_step(round_, case_id, place, at - 1, before, after)
    steps = {
        CaseKind.TOTALS: build.prove_totals_step,
        CaseKind.PAYMENTS: build.prove_payments_step,
    }
    return steps[kind](round_, case_id, at - 1, before, after)


COLUMNS = {
    FaultKind.AGGREGATE: CaseKind.AGGREGATE,
    FaultKind.TOTALS: CaseKind.TOTALS,
    FaultKind.PAYMENTS: CaseKind.PAYMENTS,
}


def convict(
    rng: Random, trial: Trial, round_: DisputedRound, fault: Fault, move: Evidence | Question
) -> None:
    """Carry a move through to the conviction it leads to, whatever the coordinator answers."""
    if isinstance(move, Evidence):
        trial.convict(move)
        return
    kind = COLUMNS.get(fault.kind)
    for lies in () if kind is None else (True, False):
        with trial.undone():
            trial.convict(answered(rng, trial, round_, move, kind, fault.place, lies=lies))
    case_id = trial.ask(move)
    if kind is None:
        assert cannot_answer(trial, round_, case_id)
    trial.convict_by_silence(case_id)


def cannot_answer(trial: Trial, round_: DisputedRound, case_id: int) -> bool:
    """Whether the data that a round demands are not there, or not what was committed to."""
    case = trial.world.referee.case(case_id)
    assert case is not None
    try:
        answer = answer_to(round_, case.open_case)
    except ValueError:
        return True
    return trial.is_refused(case_id, answer)


def try_altered(rng: Random, trial: Trial, name: str) -> Counter[str]:
    """One round with one altered value: whatever is found convicts; how often, by function."""
    convictions = Counter[str]()
    with trial.undone():
        draft = draft_on(rng, trial)
        ALTERATIONS[name](rng, draft)
        round_ = trial.commit(draft)
        faults = find_faults(round_)
        assert faults, f"{name}: nothing found"
        for fault in faults:
            moves = moves_against(round_, fault)
            assert moves, f"{name}: {fault}: nothing to send"
            for move in moves:
                with trial.undone():
                    convict(rng, trial, round_, fault, move)
                convictions[move.function] += 1
    return convictions


@pytest.mark.slow
@pytest.mark.timeout(0 if FUZZ else 300)
@pytest.mark.parametrize("share", range(SHARES))
def test_every_altered_round_is_convicted(trials: list[Trial], share: int) -> None:
    done, used, seen = Counter[str](), Counter[str](), 0
    while done.total() < ALTERED_ROUNDS:
        rng = Random(f"altered {share} {seen}")
        seen += 1
        name = sorted(ALTERATIONS)[done.total() % len(ALTERATIONS)]
        try:
            convictions = try_altered(rng, rng.choice(trials), name)
        except NotPossible:
            continue
        assert convictions, f"{name}: nobody was convicted"
        done[name] += 1
        used += convictions
    assert set(done) == set(ALTERATIONS)
    assert set(used) >= {"challenge_chunk", "challenge_column", "demand_record"}
