from dataclasses import replace

import numpy as np
import pytest

from coordinator.protocol.errors import (
    AggregationError,
    ConfigError,
    UnknownRuleError,
    VerificationError,
)
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.rules import chosen, rules_by_number
from coordinator.protocol.rules.base import Weighting, capped_examples
from coordinator.protocol.rules.chosen import check_fault_bound, quorum
from coordinator.protocol.rules.rule import check_manifest, validate_rule
from coordinator.protocol.types import Rule

MANIFEST = Manifest.of({"w": np.zeros(10, np.float32)})
FEDAVG = Rule(1, 1, 1, 0, 100, 65536, 0, MANIFEST.digest(), 10, 256, 20, 3, 0, bytes(32))
TRIMMED = replace(FEDAVG, kind=3, weighting=2, num_byzantine=2)


def test_numbers_are_those_of_the_protocol():
    names = {n: rule.name for n, rule in rules_by_number().items()}
    # those that contracts and roots depend on; a further rule has a number of its own
    assert {n: names[n] for n in (1, 2, 3)} == {1: "fedavg", 2: "median", 3: "trimmed_mean"}
    assert [weighting.value for weighting in Weighting] == [1, 2]


@pytest.mark.parametrize(
    "rule",
    [
        FEDAVG,
        replace(FEDAVG, weighting=2),
        replace(FEDAVG, server_lr_q16=1, server_momentum_q16=65535),
        replace(FEDAVG, kind=2, weighting=2, num_byzantine=1),
        TRIMMED,
        replace(TRIMMED, norm_bound_q=2**64 - 1),
    ],
)
def test_sound_rules_pass(rule):
    validate_rule(rule)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version is 2"),
        ({"kind": 65535}, "kind is 65535, expected one of 1 fedavg, 2 median, 3 trimmed_mean"),
        ({"weighting": 0}, "weighting is 0, expected one of 1 examples, 2 uniform"),
        ({"num_byzantine": -1}, "num_byzantine is -1"),
        ({"num_byzantine": 1}, "num_byzantine is 1, expected 0 with kind fedavg"),
        ({"kind": 2}, "weighting is examples, expected uniform with kind median"),
        ({"kind": 3}, "weighting is examples, expected uniform with kind trimmed_mean"),
        ({"examples_cap": 0}, "examples_cap is 0"),
        ({"examples_cap": 2**40}, "examples_cap is"),
        ({"server_lr_q16": 0}, "server_lr_q16 is 0"),
        ({"server_lr_q16": 1.0}, "server_lr_q16 is 1.0"),
        ({"server_momentum_q16": 65536}, "server_momentum_q16 is 65536"),
        ({"dimension": 0}, "dimension is 0"),
        ({"chunk_values": 0}, "chunk_values is 0"),
        ({"scale_bits": 31}, "scale_bits is 31"),
        ({"min_contributors": 0}, "min_contributors is 0"),
        ({"norm_bound_q": 2**64}, "norm_bound_q is"),
        ({"manifest_hash": b""}, "manifest_hash is b''"),
        ({"scoring_hash": "x" * 32}, "scoring_hash is"),
    ],
)
def test_unsound_rules_are_refused_by_field(change, words):
    with pytest.raises(ConfigError, match=words):
        validate_rule(replace(FEDAVG, **change))


def test_rule_and_manifest_must_agree():
    check_manifest(FEDAVG, MANIFEST)
    for change in ({"manifest_hash": bytes(32)}, {"dimension": 9}, {"chunk_values": 1}):
        with pytest.raises(VerificationError, match=next(iter(change))):
            check_manifest(replace(FEDAVG, **change), MANIFEST)
    with pytest.raises(VerificationError, match="scale_bits is 8, the manifest gives 20"):
        check_manifest(replace(FEDAVG, scale_bits=8), MANIFEST)


def test_fault_bound_at_its_edges():
    check_fault_bound(TRIMMED, 5)
    with pytest.raises(
        AggregationError, match=r"4 valid updates, expected at least 5: trimmed_mean .* 2f < n"
    ):
        check_fault_bound(TRIMMED, 4)
    check_fault_bound(FEDAVG, 3)
    with pytest.raises(AggregationError, match="2 valid updates, expected at least min_contrib"):
        check_fault_bound(FEDAVG, 2)


def test_quorum_is_where_the_fault_bound_begins_to_hold():
    for rule in (FEDAVG, TRIMMED, replace(TRIMMED, min_contributors=9)):
        check_fault_bound(rule, quorum(rule))
        with pytest.raises(AggregationError):
            check_fault_bound(rule, quorum(rule) - 1)
    assert [quorum(FEDAVG), quorum(TRIMMED)] == [3, 5]


def test_examples_are_capped():
    assert [capped_examples(FEDAVG, n) for n in (0, 99, 100, 101, 10**9)] == [0, 99, 100, 100, 100]


def test_a_rule_is_named_by_its_number():
    names = [chosen(replace(FEDAVG, kind=k)).name for k in (1, 2, 3)]
    assert names == ["fedavg", "median", "trimmed_mean"]
    with pytest.raises(UnknownRuleError, match="kind is 9"):
        chosen(replace(FEDAVG, kind=9))
