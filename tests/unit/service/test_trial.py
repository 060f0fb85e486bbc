"""Which mistakes of a rule or a score from outside its trial finds, and what it lets pass."""

import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from coordinator.protocol.errors import AggregationError, OutsideCodeError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.options import Option
from coordinator.protocol.rules.base import AggregationInput, AggregationRule
from coordinator.protocol.rules.chosen import choose, chosen
from coordinator.protocol.rules.trimmed_mean import trimmed_mean
from coordinator.protocol.rules.weighted_mean import weighted_mean
from coordinator.protocol.scores.base import ScoreInput, ScoringRule
from coordinator.protocol.types import DefinedRule, Int32Vector
from coordinator.service.trial import try_outside_code

DIMENSION = 40
MANIFEST = Manifest.of({"w": np.zeros(DIMENSION, np.float32)})
NORM_BOUND = 100 << 20
WEIGHTED = Option("weighting", "examples", choices=("examples", "uniform"))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return a module that is loaded, as one of an author's own is."""
    own = ModuleType("trial_module")
    monkeypatch.setitem(sys.modules, "trial_module", own)
    return own


def try_rule(
    module: ModuleType,
    aggregate: Callable[[AggregationInput], Any],
    *,
    fewest: int = 1,
    min_contributors: int = 1,
    options: tuple[Option, ...] = (),
    score: Callable[[ScoreInput], Any] | None = None,
) -> None:
    module.MINE = AggregationRule(  # type: ignore[attr-defined]
        number=1,
        name="mine",
        aggregate=aggregate,
        fewest=lambda f: fewest,
        bound="f = 0",
        options=options,
        withstands_byzantine=False,
    )
    mine = choose("trial_module:MINE", {})
    rule = DefinedRule(
        version=1,
        kind=mine.kind,
        weighting=1 if options else 2,
        num_byzantine=0,
        examples_cap=100,
        server_lr_q16=65536,
        server_momentum_q16=0,
        manifest_hash=MANIFEST.digest(),
        dimension=DIMENSION,
        chunk_values=256,
        scale_bits=20,
        min_contributors=min_contributors,
        norm_bound_q=NORM_BOUND,
        scoring_hash=bytes(32),
        definition=mine.definition,
    )
    kind = "examples"
    if score is not None:
        module.SCORE = ScoringRule(name="mine", score=score)  # type: ignore[attr-defined]
        kind = "trial_module:SCORE"
    try_outside_code(rule, {"kind": kind})


def refusal(module: ModuleType, aggregate: Callable[[AggregationInput], Any], **more: Any) -> str:
    with pytest.raises(OutsideCodeError) as caught:
        try_rule(module, aggregate, **more)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("aggregator.kind: ")
    return text


def median(given: AggregationInput) -> Int32Vector:
    n = len(given.updates)
    return trimmed_mean(given.updates, num_byzantine=(n - 1) // 2)


def total(given: AggregationInput) -> Int32Vector:
    return np.sum(np.stack(given.updates).astype(np.int64), axis=0).astype(np.int32)


def squares(row: Int32Vector) -> int:
    return sum(int(value) ** 2 for value in row)


def shortest(given: AggregationInput) -> Int32Vector:
    """Return the update of the least norm; of equal ones the first in the list."""
    return min(given.updates, key=squares)


def shortest_by_value(given: AggregationInput) -> Int32Vector:
    return min(given.updates, key=lambda row: (squares(row), row.tobytes()))


def by_float32(given: AggregationInput) -> Int32Vector:
    gathered = np.zeros(DIMENSION, np.float32)
    for row in given.updates:
        gathered += row.astype(np.float32)
    return (gathered / len(given.updates)).astype(np.int32)


def no_pair(given: AggregationInput) -> Int32Vector:
    """Refuse if the first update is larger than the second."""
    if len(given.updates) > 1 and given.updates[0][0] > given.updates[1][0]:
        raise AggregationError("not in order")
    return median(given)


def heaviest(given: AggregationInput) -> Int32Vector:
    """Return the update of the largest weight; of equal ones the first in the list."""
    return given.updates[int(np.argmax(given.weights))]


@pytest.mark.parametrize(
    "aggregate",
    [
        lambda given: given.updates[0],
        lambda given: given.updates[1 % len(given.updates)],
        lambda given: given.updates[len(given.updates) // 2],
        lambda given: given.updates[-1].copy(),
        lambda given: given.updates[0] - given.updates[-1],
        by_float32,
        no_pair,
        lambda given: weighted_mean(given.updates, sorted(given.weights)),
    ],
    ids=["first", "second", "middle", "last", "difference", "float32", "refuses", "weights"],
)
def test_a_rule_that_depends_on_the_order(module: ModuleType, aggregate: Any) -> None:
    text = refusal(module, aggregate, options=(WEIGHTED,))
    assert "rule trial_module:MINE depends on the order of the updates: " in text
    assert text.endswith("; expected the same result in any order")


@pytest.mark.parametrize("aggregate", [shortest, heaviest])
def test_a_rule_that_breaks_ties_by_the_place(module: ModuleType, aggregate: Any) -> None:
    text = refusal(module, aggregate)
    assert "depends on the order of updates that are equal or equally far apart: " in text
    assert text.endswith(": tell such updates apart by their values, not by their place")


def test_the_message_says_what_differs(module: ModuleType) -> None:
    text = refusal(module, lambda given: np.full(DIMENSION, given.updates[0][3], np.int32))
    assert "parameter 0 is " in text
    assert ", then " in text
    assert "with the same updates in reverse" in text
    text = refusal(module, no_pair)
    assert 'a result, then AggregationError "not in order"' in text or (
        'AggregationError "not in order", then a result' in text
    )


@pytest.mark.parametrize(
    ("aggregate", "options"),
    [
        (median, ()),
        (total, ()),
        (shortest_by_value, ()),
        (lambda given: weighted_mean(given.updates, given.weights), (WEIGHTED,)),
        (lambda given: weighted_mean(given.updates, given.weights), ()),
        (lambda given: np.zeros(DIMENSION, np.int32), ()),
    ],
    ids=["median", "sum", "tie by value", "weighted", "weights it does not ask for", "constant"],
)
@pytest.mark.parametrize("fewest", [1, 2, 5])
def test_a_sound_rule_passes(
    module: ModuleType, aggregate: Any, options: tuple[Option, ...], fewest: int
) -> None:
    try_rule(module, aggregate, options=options, fewest=fewest)


def test_a_rule_that_refuses_made_up_updates_passes(module: ModuleType) -> None:
    def refuses(given: AggregationInput) -> Int32Vector:
        raise AggregationError("too far apart")

    try_rule(module, refuses)


def growing() -> Callable[[AggregationInput], Int32Vector]:
    calls = []

    def aggregate(given: AggregationInput) -> Int32Vector:
        calls.append(1)
        return median(given) + np.int32(len(calls))

    return aggregate


@pytest.mark.parametrize(
    ("aggregate", "why"),
    [
        (growing(), "it keeps something from call to call, draws random numbers, or reads a clock"),
        (
            lambda given: median(given) + np.random.default_rng().integers(1 << 20, dtype=np.int32),
            "it keeps something from call to call",
        ),
        (
            lambda given: median(given) + np.int32(random.randrange(1 << 20)),
            "it draws from Python's global random numbers",
        ),
        (
            lambda given: median(given) + np.random.randint(1 << 20, dtype=np.int32),
            "it draws from numpy's global random numbers",
        ),
    ],
    ids=["counts", "own generator", "random", "numpy.random"],
)
def test_a_rule_that_gives_two_results(module: ModuleType, aggregate: Any, why: str) -> None:
    text = refusal(module, aggregate)
    assert "rule trial_module:MINE gives two results for the same updates: " in text
    assert why in text


@pytest.mark.parametrize(("seed", "name"), [(random.seed, "Python's"), (np.random.seed, "numpy's")])
def test_a_rule_that_sets_a_global_seed(module: ModuleType, seed: Any, name: str) -> None:
    def aggregate(given: AggregationInput) -> Int32Vector:
        seed(7)
        return median(given)

    assert f"sets the seed of {name} global random numbers" in refusal(module, aggregate)


def test_the_global_random_numbers_are_where_they_were(module: ModuleType) -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    try_rule(module, median)
    assert (random.random(), np.random.random()) == expected


def test_a_rule_that_depends_on_the_number_of_threads(module: ModuleType) -> None:
    text = refusal(module, lambda given: median(given) + np.int32(given.threads or 0))
    assert "depends on the number of threads: parameter 0 is" in text
    assert text.endswith("with threads = 1")


def test_a_rule_that_makes_an_update_writable_and_writes(module: ModuleType) -> None:
    def aggregate(given: AggregationInput) -> Int32Vector:
        given.updates[0].flags.writeable = True
        given.updates[0][:] = 0
        return median(given)

    assert "changes the updates, which are not its own" in refusal(module, aggregate)


def test_one_update_is_tried_where_a_round_may_have_one(module: ModuleType) -> None:
    def two(given: AggregationInput) -> Int32Vector:
        assert given.updates[1] is not None
        return median(given)

    assert "failed: IndexError: list index out of range" in refusal(module, two)
    assert "failed: IndexError" in refusal(module, two, min_contributors=1)
    try_rule(module, two, min_contributors=2)  # no round of this federation has fewer
    try_rule(module, two, fewest=2)


@pytest.mark.parametrize("odd", [0, 1])
def test_an_even_and_an_odd_number_is_tried(module: ModuleType, odd: int) -> None:
    def some(given: AggregationInput) -> Int32Vector:
        return median(given) if len(given.updates) % 2 == odd else [][1]

    assert "failed: IndexError" in refusal(module, some, fewest=3)


def test_updates_that_are_alike_are_tried(module: ModuleType) -> None:
    def apart(given: AggregationInput) -> Int32Vector:
        lengths = {squares(row) for row in given.updates}
        return median(given) if len(lengths) == len(given.updates) else [][1]

    assert "failed: IndexError" in refusal(module, apart)


def test_a_round_hands_out_lists_of_its_own_and_takes_a_copy(module: ModuleType) -> None:
    def sorts(given: AggregationInput) -> Int32Vector:
        given.updates.sort(key=lambda row: row.tobytes())  # type: ignore[union-attr]
        return given.updates[0]

    try_rule(module, sorts)
    updates = [np.full(DIMENSION, value, np.int32) for value in (3, 1, 2)]
    known = choose("trial_module:MINE", {})
    result = known.aggregate(tuple(updates), [1, 1, 1], num_byzantine=0)
    assert [int(update[0]) for update in updates] == [3, 1, 2]
    assert result.tolist() == updates[1].tolist()
    assert not any(np.shares_memory(result, update) for update in updates)


def test_values_stay_within_the_norm_bound(module: ModuleType) -> None:
    largest = []

    def aggregate(given: AggregationInput) -> Int32Vector:
        largest.extend(squares(row) for row in given.updates)
        return median(given)

    try_rule(module, aggregate)
    assert (NORM_BOUND // 10) ** 2 < max(largest) < NORM_BOUND**2


def test_a_score_that_gives_two_results(module: ModuleType) -> None:
    def drawn(given: ScoreInput) -> list[int]:
        return [random.randrange(1 << 30) for _ in given.round.contributors]

    with pytest.raises(OutsideCodeError) as caught:
        try_rule(module, median, score=drawn)
    assert str(caught.value).startswith(
        "scoring.kind: score trial_module:SCORE gives two results for the same round: ["
    )


def test_a_score_that_writes_into_the_updates(module: ModuleType) -> None:
    def writes(given: ScoreInput) -> list[int]:
        given.round.updates[0].flags.writeable = True
        given.round.updates[0][0] += 1
        return [1] * len(given.round.contributors)

    with pytest.raises(OutsideCodeError, match=r"^scoring\.kind: .* changes the updates"):
        try_rule(module, median, score=writes)


def test_the_rule_is_the_one_that_rounds_apply(module: ModuleType) -> None:
    """Else what was tried would not be what is applied."""
    try_rule(module, median)
    mine = choose("trial_module:MINE", {})
    rule = DefinedRule(
        1, mine.kind, 2, 0, 1, 1, 0, bytes(32), 1, 8, 0, 1, 0, bytes(32), mine.definition
    )
    assert chosen(rule).rule is module.MINE
