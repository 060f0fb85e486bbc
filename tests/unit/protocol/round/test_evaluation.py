"""What participants claim of a model: checked one by one, summarised without trust."""

import json
import math
from itertools import permutations
from typing import Any

import pytest

from coordinator.protocol.errors import ContributorError, VerificationError
from coordinator.protocol.round.evaluation import (
    LARGEST,
    Claim,
    EvaluationSummary,
    PublicResult,
    Spread,
    evaluation_document,
    read_claim,
    summarise,
)
from coordinator.protocol.types import Address, RoundId

ADA, BOB, CYD = (Address("0x" + digit * 40) for digit in "abc")
ROOT = bytes(range(32))


def summary_of(claims: dict[Address, Claim], refused: tuple[str, ...] = (), cap: int = 100):
    return summarise(RoundId(7), ROOT, claims, refused, cap)


def test_a_claim_keeps_numbers_and_leaves_lists_out():
    claim = read_claim({"num-examples": 3, "accuracy": 1, "loss": 0.5, "per-class": [0.5, 1.0]})
    assert claim == Claim(3, {"accuracy": 1.0, "loss": 0.5})
    assert type(claim.values["accuracy"]) is float


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"loss": math.nan}, "bad-metrics"),
        ({"loss": -math.inf}, "bad-metrics"),
        ({"loss": math.nextafter(LARGEST, math.inf)}, "bad-metrics"),
        ({"loss": -(10**10)}, "bad-metrics"),
        ({"loss": 10**400}, "bad-metrics"),
        ({"loss": "0.5"}, "bad-metrics"),
        ({"loss": True}, "bad-metrics"),
        ({"loss": None}, "bad-metrics"),
        ({"loss": [math.nan]}, "bad-metrics"),
        ({"accuracy": math.nextafter(1.0, 2.0)}, "bad-metrics"),
        ({"accuracy": -1e-9}, "bad-metrics"),
        ({"": 1.0}, "bad-metrics"),
        ({"a" * 65: 1.0}, "bad-metrics"),
        ({"\x1b[2J": 1.0}, "bad-metrics"),
        ({"a\nb": 1.0}, "bad-metrics"),
        ({"[red]": 1.0}, "bad-metrics"),
        ({f"m{n}": 1.0 for n in range(65)}, "bad-metrics"),
        ({"num-examples": -1}, "bad-examples"),
        ({"num-examples": 1 << 63}, "bad-examples"),
        ({"num-examples": 1.0}, "bad-examples"),
    ],
)
def test_a_claim_that_cannot_be_is_refused_by_name(changes: dict[str, Any], code: str):
    with pytest.raises(ContributorError) as refused:
        read_claim({"num-examples": 3, "accuracy": 0.5, **changes})
    assert refused.value.code == code
    assert len(str(refused.value)) < 300


def test_bounds_are_included():
    values = {"accuracy": 0.0, "loss": LARGEST, "a" * 64: -LARGEST}
    assert read_claim({"num-examples": 1, **values}).values == values


def test_a_summary_by_hand():
    found = summary_of(
        {
            ADA: Claim(10, {"accuracy": 0.5, "loss": 2.0}),
            BOB: Claim(30, {"accuracy": 0.9, "loss": 1.0}),
            CYD: Claim(1000, {"accuracy": 0.0}),
        },
        ("no-reply", "bad-metrics", "no-reply"),
    )
    # weights 10, 30 and 100, the cap
    assert found.metrics["accuracy"] == Spread((5 + 27) / 140, 0.5, 0.0, 0.9)
    assert found.metrics["loss"] == Spread((20 + 30) / 40, 1.5, 1.0, 2.0)
    assert (found.asked, found.answered, found.examples) == (6, 3, 1040)
    assert found.refused == {"bad-metrics": 1, "no-reply": 2}
    assert found.mean("auc") is None


def test_the_order_of_answers_changes_no_bit():
    claims = {
        address: Claim(n, {"loss": value})
        for address, n, value in ((ADA, 3, 1e9), (BOB, 7, 0.1), (CYD, 11, -1e9))
    }
    found = {
        json.dumps(summary_of(dict(order)).as_json()) for order in permutations(claims.items())
    }
    assert len(found) == 1


def test_a_minority_adds_no_metric_and_moves_no_median_beyond_what_others_say():
    claims = {
        ADA: Claim(1, {"loss": 0.25}),
        BOB: Claim(1, {"loss": 0.5}),
        CYD: Claim(1 << 62, {"loss": LARGEST, **{f"junk{n}": 1.0 for n in range(63)}}),
    }
    found = summary_of(claims)
    assert list(found.metrics) == ["loss"]
    assert found.metrics["loss"].median == 0.5
    half = summary_of({ADA: Claim(1, {"loss": 0.25}), BOB: Claim(1, {"other": 0.25})})
    assert half.metrics == {}


def test_what_the_coordinator_found_itself_stands_beside_the_claims():
    found = summarise(RoundId(7), ROOT, {}, (), 100, PublicResult(8, 6, 0.5))
    assert found.public is not None
    assert found.public.accuracy == 0.75
    assert EvaluationSummary.from_json(json.loads(json.dumps(found.as_json())), "file") == found
    none = summarise(RoundId(7), ROOT, {}, (), 100, PublicResult(8, 0, None))
    assert EvaluationSummary.from_json(none.as_json(), "file") == none
    assert "public" not in summary_of({}).as_json()


@pytest.mark.parametrize(
    "public",
    [
        {"examples": 0, "correct": 0, "loss": 0.5},
        {"examples": 3, "correct": 4, "loss": 0.5},
        {"examples": 3, "correct": 2, "loss": math.inf},
        {"examples": 3, "correct": 2},
        [3, 2, 0.5],
    ],
)
def test_a_public_result_that_is_none_is_named(public: Any):
    with pytest.raises(VerificationError, match="not an evaluation"):
        EvaluationSummary.from_json({**summary_of({}).as_json(), "public": public}, "there")


def test_nobody_answered():
    found = summary_of({}, ("no-reply",))
    assert (found.metrics, found.asked, found.answered) == ({}, 1, 0)


def test_a_document_holds_who_said_what_and_reads_back_as_its_summary():
    claims = {ADA: Claim(10, {"accuracy": 0.5})}
    found = summary_of(claims, ("no-reply",))
    document = evaluation_document(found, claims, {BOB: ("no-reply", "nothing came")})
    assert document["claims"] == {ADA: {"examples": 10, "metrics": {"accuracy": 0.5}}}
    assert document["refusals"] == {BOB: {"code": "no-reply", "message": "nothing came"}}
    assert EvaluationSummary.from_json(json.loads(json.dumps(document)), "file") == found
    assert "claims" not in found.as_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"round": -1},
        {"round": True},
        {"model_root": "xyz"},
        {"model_root": None},
        {"asked": 1.0},
        {"refused": []},
        {"refused": {"Not A Code": 1}},
        {"metrics": {"loss": {"mean": 1.0}}},
        {"metrics": {"[red]": {"mean": 1.0, "median": 1.0, "lowest": 1.0, "highest": 1.0}}},
        {"metrics": {"loss": {"mean": math.nan, "median": 1.0, "lowest": 1.0, "highest": 1.0}}},
        {"metrics": {"loss": 1.0}},
    ],
)
def test_a_document_that_is_none_is_named(changes: dict[str, Any]):
    good = summary_of({ADA: Claim(10, {"loss": 0.5})}).as_json()
    assert EvaluationSummary.from_json(good, "there").mean("loss") == 0.5
    with pytest.raises(VerificationError, match="there: not an evaluation") as refused:
        EvaluationSummary.from_json({**good, **changes}, "there")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("document", [None, [], "text", {}])
def test_what_is_no_object_is_no_evaluation(document: Any):
    with pytest.raises(VerificationError, match="not an evaluation"):
        EvaluationSummary.from_json(document, "there")
