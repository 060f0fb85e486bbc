"""Leave-one-out on utilities small enough to work by hand, and each way to earn nothing."""

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pytest

from coordinator.protocol.errors import AggregationError, ConfigError
from coordinator.protocol.rules.base import AggregationRule
from coordinator.protocol.rules.chosen import choose
from coordinator.protocol.rules.weighted_mean import weighted_mean
from coordinator.protocol.scores import ScoringRound, score
from coordinator.protocol.scores.copies import copied
from coordinator.protocol.scores.counterfactual import counterfactuals
from coordinator.protocol.scores.leave_one_out import (
    LeaveOneOutSettings,
    _exceeds,
    leave_one_out,
    sign_flips,
)
from coordinator.protocol.types import WEIGHT_TOTAL, DefinedRule, Rule

D = 256
SEED = bytes(range(32))
HIGHEST = (1 << 31) - 1
NAMES = [f"0x{i:040x}" for i in range(1, 10)]


def rule(kind: int = 1, **changes) -> Rule:
    values = {
        "version": 1,
        "kind": kind,
        "weighting": 1,
        "num_byzantine": 0,
        "examples_cap": 100,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": bytes(32),
        "dimension": D,
        "chunk_values": 256,
        "scale_bits": 20,
        "min_contributors": 1,
        "norm_bound_q": 0,
        "scoring_hash": bytes(32),
    }
    return Rule(**{**values, **changes})


def a_round(updates, **changes) -> ScoringRound:
    n = len(updates)
    values = {
        "contributors": NAMES[:n],
        "examples": [10] * n,
        "weights": [WEIGHT_TOTAL // 4] * n,
        "updates": updates,
        "base_model": np.zeros(D, np.int32),
        "rule": rule(),
        "seed": SEED,
    }
    return ScoringRound(**{**values, **changes})


def pattern(number: int) -> np.ndarray:
    """Return one of some orthogonal sign patterns of length D."""
    index = np.arange(D)
    parity = np.array([bin(k & number).count("1") & 1 for k in index])
    return (1 - 2 * parity).astype(np.int32)


def along(direction: np.ndarray):
    """Return a linear utility: how far a model goes in a direction."""
    return lambda model: int(model.astype(np.int64) @ direction)


TRUTH = pattern(1) + pattern(2) + pattern(4)


def test_gains_by_hand_in_proportion_to_weight_and_size():
    updates = [pattern(1) * 40, pattern(2) * 80, pattern(4) * 40, np.zeros(D, np.int32)]
    weights = [WEIGHT_TOTAL // 4, WEIGHT_TOTAL // 4, WEIGHT_TOTAL // 2, 0]
    scores = leave_one_out(a_round(updates, weights=weights), along(TRUTH))
    # <pattern, truth> = 256, so 256 * 40 / 4, 256 * 80 / 4, 256 * 40 / 2, 0
    assert scores == [2560, 5120, 5120, 0]


def test_order_of_contributors_does_not_matter():
    updates = [pattern(1) * 40, pattern(2) * 80, pattern(4) * 120, pattern(8) * 40]
    order = [2, 0, 3, 1]
    scores = leave_one_out(a_round(updates), along(TRUTH))
    shuffled = leave_one_out(
        a_round([updates[i] for i in order], contributors=[NAMES[i] for i in order]), along(TRUTH)
    )
    assert scores == [2560, 5120, 7680, 0]
    assert shuffled == [scores[i] for i in order]


def test_harmful_and_useless_updates_earn_nothing():
    updates = [pattern(1) * 40, -pattern(2) * 40, pattern(8) * 40]
    assert leave_one_out(a_round(updates), along(TRUTH)) == [2560, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_noise_earns_nothing_where_its_gain_would_be_positive(seed):
    noise = np.random.default_rng(seed).normal(0, 100, D).astype(np.int32)
    noise *= 1 if noise @ TRUTH > 0 else -1
    scored = a_round([pattern(1) * 40, noise])
    models = counterfactuals(scored)
    assert along(TRUTH)(models.complete()) > along(TRUTH)(models.without(1))
    assert leave_one_out(scored, along(TRUTH)) == [2560, 0]


def test_noise_in_a_few_decisive_values_earns_nothing():
    # A utility that hangs on 32 values: noise there gains or loses much more than its length says.
    decisive = np.zeros(D, np.int32)
    decisive[:32] = 1000
    found = []
    for seed in range(40):
        noise = np.zeros(D, np.int32)
        noise[:32] = np.random.default_rng(seed).normal(0, 100, 32)
        scored = a_round([noise, pattern(1) * 40])
        found.append(leave_one_out(scored, along(decisive + TRUTH))[0])
    assert found == [0] * 40


def test_null_distribution_is_centred_on_its_mean_and_compared_exactly():
    # mean 10, sample deviation sqrt((4 + 0 + 4) / 2) = 2: 18 is four deviations away
    assert not _exceeds(18, [8, 10, 12], 4)
    assert _exceeds(19, [8, 10, 12], 4)
    assert not _exceeds(1, [8, 10, 12], 0)
    # no spread: only more than the mean is more
    assert not _exceeds(7, [7, 7], 4)
    assert _exceeds(8, [7, 7], 4)
    huge = 10**40
    assert not _exceeds(18 * huge, [8 * huge, 10 * huge, 12 * huge], 4)
    assert _exceeds(18 * huge + 1, [8 * huge, 10 * huge, 12 * huge], 4)


def test_gain_under_one_percent_of_the_largest_counts_as_none():
    updates = [pattern(1) * 100_000, pattern(2) * 996, pattern(4) * 1004]
    scores = leave_one_out(a_round(updates), along(TRUTH))
    assert scores == [6_400_000, 0, 64_256]


@pytest.mark.parametrize(
    ("update", "copy"),
    [
        (pattern(1) * 40, True),
        (pattern(1) * 7, True),  # scaled
        (pattern(1) * 40 + pattern(8) * 8, True),  # cosine 0.98058
        (pattern(1) * 40 + pattern(8) * 9, False),  # cosine 0.97562
        (-pattern(1) * 40, False),
        (pattern(2) * 40, False),
        (np.zeros(D, np.int32), False),
    ],
)
def test_copies_of_the_round_before(update, copy):
    scored = a_round([update, pattern(4)], previous=[(NAMES[5], pattern(1) * 40)])
    limits = {"previous_permille": 980, "same_round_permille": 995}
    assert copied(scored, **limits) == [copy, False]
    by_step = a_round([update, pattern(4)], previous_step=pattern(1) * 3)
    assert copied(by_step, **limits) == [copy, False]
    by_model = a_round([update, pattern(4)], base_model=pattern(1) * 1000)
    assert copied(by_model, **limits) == [copy, False]
    own = a_round([update, pattern(4)], previous=[(NAMES[0], pattern(1) * 40)])
    assert copied(own, **limits) == [False, False]


def test_a_replayed_update_earns_nothing_and_the_honest_one_its_gain():
    updates = [pattern(1) * 40, pattern(2) * 80]
    scored = a_round(updates, previous=[(NAMES[7], pattern(1) * 13)])
    assert leave_one_out(scored, along(TRUTH)) == [0, 5120]


def test_equal_updates_of_one_round_all_earn_nothing():
    updates = [pattern(1) * 40, pattern(2) * 80, pattern(1) * 80, pattern(4) * 80]
    assert leave_one_out(a_round(updates), along(TRUTH)) == [0, 5120, 0, 5120]


def test_similar_updates_of_one_round_are_not_equal_ones():
    near = pattern(1) * 40 + pattern(8) * 5  # cosine 0.9923
    scores = leave_one_out(a_round([pattern(1) * 40, near]), along(TRUTH))
    assert scores == [2560, 2560]


def test_extreme_values_are_compared_exactly():
    scored = a_round(
        [np.full(D, -(1 << 31), np.int32), np.full(D, HIGHEST, np.int32)],
        previous=[(NAMES[5], np.full(D, -(1 << 31), np.int32))],
    )
    assert copied(scored, previous_permille=1000, same_round_permille=1000) == [True, False]


@pytest.mark.parametrize("kind", [2, 3])
def test_coordinate_wise_rules_are_applied_again(kind):
    honest = [TRUTH * 40, TRUTH * 30 + pattern(8) * 30, TRUTH * 35 + pattern(16) * 30]
    updates = [*honest, np.zeros(D, np.int32), -TRUTH * 1000]
    scored = a_round(updates, rule=rule(kind, num_byzantine=1))
    models = counterfactuals(scored)
    rows = np.array(updates, np.int64)
    for i in range(5):
        rest = np.sort(np.delete(rows, i, axis=0), axis=0)[1:3]
        expected = (rest.sum(axis=0) + 1) >> 1
        assert models.without(i).tolist() == expected.tolist()
    scores = leave_one_out(scored, along(TRUTH))
    assert min(scores[:3]) > 0
    assert scores[3:] == [0, 0]


def test_flipped_models_by_hand():
    updates = [pattern(1) * 40, pattern(2) * 80]
    flips = sign_flips(SEED, 3, D)
    signs = np.where(flips, -1, 1)
    mean = counterfactuals(a_round(updates)).flipped(0, flips)
    assert mean.tolist() == (signs * updates[0] // 4 + updates[1] // 4).tolist()
    median = counterfactuals(a_round(updates, rule=rule(2))).flipped(0, flips)
    assert median.tolist() == (signs * updates[0] // 2 + updates[1] // 2).tolist()


def test_sign_flips_are_fair_and_differ_by_seed_and_draw():
    flips = [sign_flips(SEED, draw, 100_000) for draw in range(4)]
    assert all(abs(int(row.sum()) - 50_000) < 700 for row in flips)
    assert all(abs(int((a ^ b).sum()) - 50_000) < 700 for a in flips for b in flips if a is not b)
    assert sign_flips(bytes(32), 0, 100).tolist() != sign_flips(SEED, 0, 100).tolist()
    assert sign_flips(SEED, 0, 13).tolist() == sign_flips(SEED, 0, 100)[:13].tolist()


def test_single_contributor_is_compared_with_no_step():
    for kind in (1, 2, 3):
        scored = a_round([TRUTH * 40], rule=rule(kind), weights=[WEIGHT_TOTAL])
        assert leave_one_out(scored, along(TRUTH)) == [40 * int(TRUTH @ TRUTH)]


def outside_rule(monkeypatch, aggregate, fewest):
    """Return a committed rule of one's own, and load its code."""
    module = ModuleType("leave_one_out_rules")
    module.MINE = AggregationRule(1, "mine", aggregate, lambda f: fewest + f, "any")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    mine = choose(f"{module.__name__}:MINE", {})
    fields = vars_of(rule(weighting=2)) | {"kind": mine.kind, "definition": mine.definition}
    return DefinedRule(**fields)


def vars_of(record):
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def test_a_rule_that_needs_everybody_is_compared_with_no_step(monkeypatch):
    mine = outside_rule(monkeypatch, lambda given: np.max(given.updates, axis=0), 2)
    updates = [TRUTH * 40, TRUTH * 20]
    models = counterfactuals(a_round(updates, rule=mine))
    assert models.without(0).tolist() == models.without(1).tolist() == [0] * D
    assert models.complete().tolist() == np.max(updates, axis=0).tolist()
    more = counterfactuals(a_round([*updates, TRUTH * 30], rule=mine))
    assert more.without(0).tolist() == np.max([TRUTH * 20, TRUTH * 30], axis=0).tolist()


def test_a_rule_that_reads_weights_unasked_gets_equal_ones(monkeypatch):
    mine = outside_rule(monkeypatch, lambda given: weighted_mean(given.updates, given.weights), 1)
    scored = a_round([TRUTH * 40, TRUTH * 20, TRUTH * 60], rule=mine, weights=[5592405] * 3)
    models = counterfactuals(scored)
    assert models.complete().tolist() == (TRUTH * 40).tolist()
    assert models.without(1).tolist() == (TRUTH * 50).tolist()


def test_server_momentum_and_learning_rate_are_part_of_the_model():
    updates = [pattern(1) * 40, pattern(2) * 40]
    slow = rule(server_lr_q16=1 << 15, server_momentum_q16=1 << 15)
    scored = a_round(updates, rule=slow, velocity=pattern(4) * 100)
    complete = counterfactuals(scored).complete()
    assert complete.tolist() == ((pattern(1) + pattern(2)) * 5 + pattern(4) * 25).tolist()
    assert leave_one_out(scored, along(TRUTH)) == [1280, 1280]


def test_counterfactual_that_overflows_shows_no_gain():
    base = np.zeros(D, np.int32)
    base[0] = HIGHEST - 5
    updates = [np.full(D, 80, np.int32), np.full(D, -80, np.int32)]
    scored = a_round(updates, base_model=base)
    # without the second update the model overflows; without the first it is merely worse
    assert leave_one_out(scored, along(np.ones(D, np.int32))) == [20 * D, 0]
    assert leave_one_out(scored, along(-np.ones(D, np.int32))) == [0, 0]


def test_round_that_cannot_be_formed_is_an_error():
    base = np.full(D, HIGHEST, np.int32)
    with pytest.raises(AggregationError, match="new model overflows int32 at index 0"):
        leave_one_out(a_round([np.full(D, 8, np.int32)], base_model=base), along(TRUTH))


def test_models_are_evaluated_only_where_a_question_is_open():
    calls = []

    def evaluate(model):
        calls.append(1)
        return int(model.astype(np.int64) @ TRUTH)

    updates = [pattern(1) * 40, np.zeros(D, np.int32), -pattern(2) * 40]
    leave_one_out(a_round(updates), evaluate)
    assert len(calls) == 1 + 3 + 32


def test_inputs_are_not_modified():
    updates = [pattern(1) * 40, pattern(2) * 80]
    for kind in (1, 2):
        leave_one_out(a_round(updates, rule=rule(kind)), along(TRUTH))
    assert np.array_equal(updates[0], pattern(1) * 40)
    assert np.array_equal(updates[1], pattern(2) * 80)


@pytest.mark.parametrize(
    "settings",
    [
        {"null_draws": 1},
        {"null_sigmas": -1},
        {"least_gain_permille": 1001},
        {"previous_cosine_permille": 0},
        {"same_round_cosine_permille": 1001},
        {"null_draws": 32.0},
        {"null_sigmas": True},
    ],
)
def test_settings_out_of_range_are_named(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(ConfigError, match=f"leave_one_out {name} is {value}, expected"):
        LeaveOneOutSettings(**settings)


def test_seed_must_be_a_hash():
    with pytest.raises(ConfigError, match="scoring seed has 3 bytes, expected 32"):
        leave_one_out(a_round([TRUTH * 40], seed=b"abc"), along(TRUTH))


def test_registry_scores_by_name():
    updates = [pattern(1) * 40, pattern(2) * 80]
    scored = a_round(updates, examples=[70, 1000])
    assert score("examples", scored) == [70, 100]
    assert score("leave_one_out", scored, evaluate=along(TRUTH)) == [2560, 5120]
    with pytest.raises(ConfigError, match="leave_one_out needs a committed evaluation set"):
        score("leave_one_out", scored)
    with pytest.raises(ConfigError, match=r"'shapley' is unknown, expected one of \['examples'"):
        score("shapley", scored)
