"""Rounds under a rule whose arithmetic the referee does not know (ADR 0132).

An honest one is convicted by no evidence and by no column; what is wrong with its records still is.
"""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from dispute_cases import (
    layout_base,
    layout_rule,
    mutated,
    random_column_evidence,
    random_evidence,
)
from dispute_rounds import FEDAVG, MEDIAN, TRIMMED_MEAN, honest_draft, make_rule
from dispute_trial import Trial
from dispute_world import DEPOSIT, MEMBERS, UPDATES, WATCHER, DisputeWorld
from eth_abi.exceptions import EncodingError

from contracts.binding import referee_calls
from coordinator.audit.watch.unprovable import unprovable_parts
from coordinator.protocol.disputes import (
    CaseKind,
    DisputedRound,
    Evidence,
    FaultKind,
    answer_to,
    column_of,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.disputes.columns import aggregate_column, is_ranked
from coordinator.protocol.disputes.moves import rule_words
from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import Rule, Wei

RULES = [make_rule(kind=4, num_byzantine=1), make_rule(kind=200, weighting=1)]
NAMES = ["uniform", "by examples"]
MODEL = np.array([-5, 77, 1_000_000, 3, 12], np.int32)
"""What no rule that the referee knows gives."""


def honest(court: DisputeWorld, rule: Rule) -> DisputedRound:
    return court.commit(court.draft(rule=rule, new_model=MODEL))


def read_as(round_: DisputedRound, kind: int) -> DisputedRound:
    """The round as if its rule were another: what evidence against the aggregate is built from."""
    return replace(round_, rule=replace(round_.known_rule, kind=kind))


def under(rule: Rule, evidence: Evidence) -> Evidence:
    """The evidence with the words of the announced rule in place of those it was built with."""
    size = len(rule_words(rule))
    words = [rule_words(rule) if _is_rule(a, size) else a for a in evidence.arguments]
    return replace(evidence, arguments=tuple(words))


def _is_rule(argument: Any, size: int) -> bool:
    return isinstance(argument, tuple) and len(argument) == size and isinstance(argument[0], int)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_the_aggregate_is_read_as_that_of_no_other_rule(court: DisputeWorld, rule: Rule) -> None:
    round_ = honest(court, rule)
    assert find_faults(round_) == []
    for kind in (FEDAVG, MEDIAN, TRIMMED_MEAN):
        lie = read_as(round_, kind)
        assert find_faults(lie) != []  # read as another rule, the round would be at fault
        direct = build.challenge_chunk(lie, 0)
        assert court.refused(direct) == "dispute: wrong rule"
        assert court.refused(under(rule, direct)) == "dispute: rule not provable"
        question = referee_calls.ask(ask.challenge_column(lie, 0), Wei(DEPOSIT))
        assert court.reason(WATCHER, question) == "dispute: wrong rule"
    question = referee_calls.ask(ask.challenge_column(round_, 0), Wei(DEPOSIT))
    assert court.reason(WATCHER, question) == "dispute: rule not provable"


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_question_has_an_answer(court: DisputeWorld, rule: Rule) -> None:
    round_ = honest(court, rule)
    questions = [
        ask.challenge_totals(round_),
        ask.challenge_payments(round_),
        ask.demand_record(round_, CaseKind.RULE),
        ask.demand_record(round_, CaseKind.CONTRIBUTOR, 1),
        ask.demand_record(round_, CaseKind.SCORE, 2),
        ask.demand_chunk(round_, CaseKind.NEW_MODEL, 1),
        ask.demand_chunk(round_, CaseKind.UPDATE, 2, 3),
    ]
    for question in questions:
        court.answer(round_, court.ask(question))
    assert court.referee.unanswered() == 0


@pytest.mark.parametrize("weighting", [1, 2])
def test_no_evidence_convicts(weighting: int) -> None:
    """Built against any fault of any rule, half of it with one value changed."""
    rng = Random(weighting)
    layout = layout_rule(5, 2)
    trial = Trial.create(layout_base(5), layout)
    rule = replace(layout, kind=9, weighting=weighting)
    draft = honest_draft(
        MEMBERS[:4],
        UPDATES,
        [3, 1, 4, 1],
        rule=rule,
        base_model=trial.base,
        domain=trial.world.federation.domain,
        members=trial.members,
        bonds=trial.bonds,
        new_model=MODEL,
    )
    round_ = trial.commit(draft)
    columns = [CaseKind.TOTALS, CaseKind.PAYMENTS]
    opened = [ask.challenge_totals(round_), ask.challenge_payments(round_)]
    cases = [trial.ask(question) for question in opened]
    for case_id, kind in zip(cases, columns, strict=True):
        trial.answer(case_id, column_of(round_, kind))
    reasons = set()
    for _ in range(400):
        lie = read_as(round_, rng.choice([FEDAVG, MEDIAN, TRIMMED_MEAN]))
        which = rng.randrange(3)
        if which < 2:
            column = column_of(round_, columns[which])
            made = random_column_evidence(rng, lie, cases[which], columns[which], 0, column)
        else:
            made = random_evidence(rng, lie)
        made = under(rule, made)
        try:
            reason = trial.refusal(mutated(rng, made) if rng.random() < 0.5 else made)
        except EncodingError:
            continue
        assert reason, f"an honest round was convicted: {made}"
        reasons.add(reason)
    assert {"dispute: rule not provable", "dispute: leaf is right", "dispute: rule is right"} <= (
        reasons
    )


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
@pytest.mark.parametrize(
    ("change", "kind", "offence"),
    [
        ({"weight": 1}, FaultKind.LEAF, "leaf: wrong weight"),
        ({"index": 9}, FaultKind.LEAF, "leaf: index out of range"),
        ({"stake_wei": 7}, FaultKind.LEAF, "leaf: wrong stake"),
    ],
)
def test_a_wrong_leaf_is_still_an_offence(
    court: DisputeWorld, rule: Rule, change: dict[str, int], kind: FaultKind, offence: str
) -> None:
    draft = court.draft(rule=rule, new_model=MODEL)
    draft.change_leaf(1, **change)
    round_ = court.commit(draft, settled=False)
    fault = next(fault for fault in find_faults(round_) if fault.kind is kind)
    (proof,) = moves_against(round_, fault)
    assert isinstance(proof, Evidence)
    assert court.convict(proof) == offence


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_wrong_reward_is_still_an_offence(court: DisputeWorld, rule: Rule) -> None:
    draft = court.draft(rule=rule, new_model=MODEL)
    draft.rewards[0] = replace(draft.rewards[0], cumulative_wei=Wei(1))
    round_ = court.commit(draft)
    fault = next(fault for fault in find_faults(round_) if fault.kind is FaultKind.REWARD)
    (proof,) = moves_against(round_, fault)
    assert isinstance(proof, Evidence)
    assert court.convict(proof) == "reward: wrong value"


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_withheld_data_is_still_an_offence(court: DisputeWorld, rule: Rule) -> None:
    round_ = honest(court, rule)
    case_id = court.ask(ask.demand_chunk(round_, CaseKind.UPDATE, 0, 1))
    assert court.convict_by_timeout(case_id) == "withheld data"


def test_the_mirror_has_no_columns_of_it_either(court: DisputeWorld) -> None:
    rule = RULES[0]
    round_ = honest(court, rule)
    for compute in (
        lambda: aggregate_column(rule, [1, 2], [3, 4]),
        lambda: aggregate_column(rule, [1, 2], [3, 4], claimed=(3, 4)),
        lambda: is_ranked(rule, 2, (0, 0, 0, 0, 0)),
        lambda: column_of(round_, CaseKind.AGGREGATE),
    ):
        with pytest.raises(AggregationError, match=r"rule kind 4 .* not provable by this referee"):
            compute()
    asked = court.case(court.ask(ask.challenge_totals(round_))).open_case
    assert answer_to(round_, asked)


def test_a_watcher_says_that_it_is_not_provable() -> None:
    (text,) = unprovable_parts(RULES[0])
    assert text.startswith("aggregates by a rule of kind 4: not provable by this referee")
    assert list(unprovable_parts(make_rule())) == []
