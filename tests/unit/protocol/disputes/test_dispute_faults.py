"""What is found in a round, and what is sent against it; without a chain."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from dispute_rounds import (
    MEDIAN,
    Draft,
    account,
    accounts,
    forged,
    honest_draft,
    make_rule,
)

from coordinator.protocol.disputes import (
    CaseKind,
    ColumnAnswer,
    Evidence,
    Fault,
    FaultKind,
    OpenCase,
    Question,
    answer_to,
    column_of,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes.fault import EXAMPLES_SCORING
from coordinator.protocol.disputes.faults import wrong_parameters
from coordinator.protocol.disputes.moves import (
    MAX_TRANSACTION_BYTES,
    challenge_chunk,
    direct_size,
    fits_directly,
)
from coordinator.protocol.types import Address, RewardLeaf, RoundId, Wei

SIGNERS = accounts(4)
UPDATES = [np.array(row, np.int32) for row in ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [0, 0, 9, 9, 9])]
EXAMPLES = [1, 2, 5]
NAMES = [Address(signer.address) for signer in SIGNERS]


def draft(**changes: object) -> Draft:
    """Three of four members take part."""
    return honest_draft(SIGNERS[:3], UPDATES, EXAMPLES, members=NAMES, **changes)  # type: ignore[arg-type]


def kinds(made: Draft) -> list[FaultKind]:
    return [fault.kind for fault in find_faults(made.disputed())]


def test_nothing_is_wrong_with_an_honest_round() -> None:
    assert find_faults(draft().disputed()) == []
    assert find_faults(draft().disputed(settled=False)) == []
    stacked = draft(
        number=2,
        parent_members=NAMES[:2],
        parent_rewards=[RewardLeaf(who, Wei(9)) for who in NAMES[:2]],
    )
    assert find_faults(stacked.disputed()) == []


def test_the_scoring_that_contracts_know() -> None:
    assert hashlib.sha256(b'{"kind":"examples"}').digest() == EXAMPLES_SCORING


def test_a_shifted_parameter_is_named() -> None:
    made = draft()
    made.new_model = made.new_model.copy()
    made.new_model[[1, 3]] += 1
    (fault,) = find_faults(made.disputed())
    assert (fault.kind, fault.place, fault.other) == (FaultKind.AGGREGATE, 1, 2)
    assert (
        str(fault)
        == f"wrong aggregate: parameter 1 is {made.new_model[1]}, one of 2 that do not follow"
    )
    assert list(wrong_parameters(made.disputed())) == [1, 3]


def test_an_overflow_is_wrong_whatever_is_committed() -> None:
    top = np.full(5, 2**31 - 1, np.int32)
    for committed in (2**31 - 1, -(2**31) + 3):
        model = np.full(5, committed, np.int32)
        made = honest_draft(
            SIGNERS[:1], UPDATES[:1], [1], members=NAMES, base_model=top, new_model=model
        )
        assert list(wrong_parameters(made.disputed())) == [0, 1, 2, 3, 4]


def test_a_step_out_of_range_is_wrong() -> None:
    rule = make_rule(server_lr_q16=4 << 16)
    update = np.array([2**30, 0, 0, 0, 0], np.int32)
    base = np.array([-(2**31), 0, 0, 0, 0], np.int32)
    made = honest_draft(
        SIGNERS[:1], [update], [1], rule=rule, base_model=base, new_model=np.zeros(5, np.int32)
    )
    # -2^31 + 2^32 leaves int32 in the step already.
    assert list(wrong_parameters(made.disputed())) == [0]


def test_under_momentum_the_aggregate_is_not_judged() -> None:
    made = draft()
    made.rule = replace(made.rule, server_momentum_q16=7)
    made.new_model = made.new_model + np.int32(1)
    assert kinds(made) == []


MISSING = {
    "rule": FaultKind.RULE_WITHHELD,
    "entries": FaultKind.CONTRIBUTOR_WITHHELD,
    "base_model": FaultKind.BASE_MODEL_WITHHELD,
    "new_model": FaultKind.NEW_MODEL_WITHHELD,
    "scores": FaultKind.SCORE_WITHHELD,
    "rewards": FaultKind.REWARD_WITHHELD,
}


@pytest.mark.parametrize("part", MISSING)
def test_what_is_missing_is_named(part: str) -> None:
    round_ = replace(draft().disputed(), **{part: None})  # type: ignore[arg-type]
    (fault,) = find_faults(round_)
    assert fault.kind is MISSING[part]
    (move,) = moves_against(round_, fault)
    assert isinstance(move, Question)
    assert move.arguments[0] == 1


def test_each_missing_update_is_named() -> None:
    round_ = draft().disputed()
    round_ = replace(round_, updates=(None, UPDATES[1], None))
    assert [(f.kind, f.place) for f in find_faults(round_)] == [
        (FaultKind.UPDATE_WITHHELD, 0),
        (FaultKind.UPDATE_WITHHELD, 2),
    ]
    later = Fault(FaultKind.UPDATE_WITHHELD, "", 2, 1)
    (move,) = moves_against(round_, later)
    assert move.arguments[2:] == (CaseKind.UPDATE, 2, 1)


@pytest.mark.parametrize("part", ["entries", "scores", "rewards"])
def test_what_does_not_hash_to_its_root_is_missing(part: str) -> None:
    round_ = draft().disputed()
    rows = list(getattr(round_, part))
    rows[0], rows[2] = rows[2], rows[0]
    (fault,) = find_faults(replace(round_, **{part: tuple(rows)}))  # type: ignore[arg-type]
    assert fault.kind is MISSING[part]


def test_chunks_too_large_to_publish_leave_no_move() -> None:
    made = draft(rule=make_rule(chunk_values=1025))
    round_ = made.disputed()
    for kind in (FaultKind.UPDATE_WITHHELD, FaultKind.NEW_MODEL_WITHHELD, FaultKind.AGGREGATE):
        assert moves_against(round_, Fault(kind, "")) == []


def test_faults_come_the_most_basic_first() -> None:
    made = draft()
    made.entries[0] = forged(made.entries[0], bytes(65))
    made.change_leaf(1, stake_wei=7)
    made.total_stake += 1
    made.change_score(2, score=0)
    found = kinds(made)
    assert found == [
        FaultKind.SIGNATURE,
        FaultKind.LEAF,
        FaultKind.TOTALS,
        FaultKind.SCORE,
        FaultKind.REWARD,
    ]


def test_a_rule_for_more_contributors() -> None:
    made = draft()
    made.rule = replace(made.rule, min_contributors=4)
    (fault,) = find_faults(made.disputed())
    assert fault.kind is FaultKind.RULE_INVALID
    assert "3 valid updates, expected at least min_contributors = 4" in fault.detail


def test_rewards_without_those_before_are_not_judged() -> None:
    made = draft(
        number=2,
        parent_members=NAMES,
        parent_rewards=[RewardLeaf(who, Wei(9)) for who in NAMES],
    )
    made.rewards[0] = replace(made.rewards[0], cumulative_wei=Wei(1))
    round_ = made.disputed()
    assert [f.kind for f in find_faults(round_)] == [FaultKind.REWARD]
    assert find_faults(replace(round_, parent_rewards=None)) == []


# --- moves ----------------------------------------------------------------------------------------


def test_every_kind_of_fault_has_a_move() -> None:
    """At every place of a round in which all of them could be."""
    made = draft()
    made.scores.append(replace(made.scores[0], score=9))
    made.rewards.append(RewardLeaf(Address(account(9).address), Wei(1)))
    round_ = made.disputed()
    places = {FaultKind.REWARD_WITHHELD: 1}
    for kind in FaultKind:
        fault = Fault(kind, "", places.get(kind, 0), 1)
        for move in moves_against(round_, fault):
            assert isinstance(move, Evidence | Question)
            assert move.arguments[0] == 1
        assert moves_against(round_, fault)


def test_a_direct_challenge_is_as_large_as_computed() -> None:
    for rule in (make_rule(), make_rule(chunk_values=5), make_rule(chunk_values=1)):
        evidence = challenge_chunk(draft(rule=rule).disputed(), 0)
        head = 4 + 32 * 18
        assert direct_size(rule, 3) == 256 + head + len(evidence.tail)


def test_a_direct_challenge_fits_up_to_a_number_of_contributors() -> None:
    rule = make_rule(dimension=10**6, chunk_values=256)
    largest = max(n for n in range(1, 512) if fits_directly(rule, n))
    assert largest == 82
    assert direct_size(rule, largest) <= MAX_TRANSACTION_BYTES < direct_size(rule, largest + 1)
    assert not fits_directly(make_rule(dimension=10**6, chunk_values=257), 1)
    assert not fits_directly(make_rule(dimension=1, chunk_values=1), 513)


# --- answers --------------------------------------------------------------------------------------


def asked(kind: CaseKind, index: int = 0, entry: int | None = None) -> OpenCase:
    return OpenCase(7, RoundId(1), kind, index, 0, entry)


def test_an_honest_coordinator_answers_with_the_column() -> None:
    round_ = draft(rule=make_rule(kind=MEDIAN)).disputed()
    column = column_of(round_, CaseKind.AGGREGATE, 2)
    answer = answer_to(round_, asked(CaseKind.AGGREGATE, 2))
    assert answer == ColumnAnswer(7, column.root, 3, 3)
    entry = answer_to(round_, asked(CaseKind.AGGREGATE, 2, entry=3))
    assert entry == Evidence("answer_entry", (7, 1, column.last, column.path(3)))


def test_totals_and_payments_end_in_what_is_committed() -> None:
    round_ = draft().disputed()
    totals = column_of(round_, CaseKind.TOTALS).last
    assert totals == (1 << 24, 8, 1000 + 1001 + 1002, 0, 0)
    payments = column_of(round_, CaseKind.PAYMENTS).last
    assert payments == (8, 87 + 175 + 437, 0, 0, 0)
    with pytest.raises(ValueError, match="case kind RULE: expected one of a column"):
        column_of(round_, CaseKind.RULE)


@pytest.mark.parametrize("kind", list(CaseKind)[3:])
def test_data_is_answered_with_its_proof(kind: CaseKind) -> None:
    answer = answer_to(draft().disputed(), asked(kind, 1))
    assert isinstance(answer, Evidence)
    assert answer.arguments[0] == 7
    assert answer.function.startswith("answer_")


def test_parts_that_are_not_known_cannot_be_used() -> None:
    round_ = replace(draft().disputed(), rule=None, new_model=None)
    with pytest.raises(ValueError, match="the rule is not known"):
        challenge_chunk(round_, 0)
    with pytest.raises(ValueError, match="the new model is not known"):
        round_.model(CaseKind.NEW_MODEL)
