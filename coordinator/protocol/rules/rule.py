"""The announced aggregation rule: which values make sense, and when a round may use it.

Not handled: the arithmetic (the rule's own file) and the digest (``digests.rule_hash``).
"""

from coordinator.protocol.errors import (
    ConfigError,
    VerificationError,
)
from coordinator.protocol.numbers.manifest import (
    MAX_CHUNK_VALUES,
    MAX_DIMENSION,
    MAX_SCALE_BITS,
    Manifest,
)
from coordinator.protocol.rules.base import AggregationRule, Weighting
from coordinator.protocol.rules.chosen import (
    check_fault_bound,
    check_least,
    chosen,
    is_provable,
)
from coordinator.protocol.types import WEIGHT_TOTAL, Rule

RULE_VERSION = 1
Q16_ONE = 1 << 16
"""1.0 in the fixed point of the server's learning rate and momentum."""

MAX_EXAMPLES_CAP = (1 << 40) - 1
"""So that the capped examples of 2^24 contributors still sum within a ``uint64``."""


_RANGES: dict[str, tuple[int, int]] = {
    "version": (RULE_VERSION, RULE_VERSION),
    "kind": (1, (1 << 256) - 1),
    "num_byzantine": (0, (1 << 32) - 1),
    "examples_cap": (1, MAX_EXAMPLES_CAP),
    "server_lr_q16": (1, (1 << 32) - 1),
    "server_momentum_q16": (0, Q16_ONE - 1),
    "dimension": (1, MAX_DIMENSION),
    "chunk_values": (1, MAX_CHUNK_VALUES),
    "scale_bits": (0, MAX_SCALE_BITS),
    "min_contributors": (1, WEIGHT_TOTAL),
    "norm_bound_q": (0, (1 << 64) - 1),
}


def validate_rule(rule: Rule) -> None:
    """Check that a rule can be announced.

    Raises
    ------
    UnknownRuleError
        If the kind is none that this process has loaded.
    ConfigError
        If a field is out of its range, or two contradict each other; the message names them.
    """
    _check_ranges(rule)
    known = chosen(rule)
    _check_kind(rule, known.name, known.rule)


def check_as_referee(rule: Rule, n: int) -> None:
    """Check a rule and its number of contributors as the record examiner's contract does.

    A kind that the referee does not know is no fault, and has bounds that it does not know either
    (ADR 0132).

    Raises
    ------
    ConfigError
        If a field is out of its range, or two contradict each other.
    AggregationError
        If ``n`` contributors are too few.
    """
    _check_ranges(rule)
    check_least(rule, n)
    if is_provable(rule):
        known = chosen(rule)
        _check_kind(rule, known.name, known.rule)
        check_fault_bound(rule, n)


def _check_ranges(rule: Rule) -> None:
    for field, (low, high) in _RANGES.items():
        value = getattr(rule, field)
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(f"rule: {field} is {value!r}, expected an integer {low} to {high}")
    for field in ("manifest_hash", "scoring_hash"):
        value = getattr(rule, field)
        if type(value) is not bytes or len(value) != 32:
            raise ConfigError(f"rule: {field} is {value!r}, expected 32 bytes")
    if rule.weighting not in set(Weighting):
        names = ", ".join(f"{member.value} {member.name.lower()}" for member in Weighting)
        raise ConfigError(f"rule: weighting is {rule.weighting!r}, expected one of {names}")


def _check_kind(rule: Rule, name: str, known: AggregationRule) -> None:
    if rule.num_byzantine and not known.withstands_byzantine:
        raise ConfigError(
            f"rule: num_byzantine is {rule.num_byzantine}, expected 0 with kind {name}, which "
            "withstands no hostile contributor"
        )
    if rule.weighting != Weighting.UNIFORM and not known.takes_weights:
        raise ConfigError(
            f"rule: weighting is examples, expected uniform with kind {name}, "
            "which counts every contributor once"
        )


def check_manifest(rule: Rule, manifest: Manifest) -> None:
    """Check that a rule was announced for this manifest.

    Raises
    ------
    VerificationError
        Naming the field that differs.
    """
    pairs = {
        "manifest_hash": (rule.manifest_hash.hex(), manifest.digest().hex()),
        "dimension": (rule.dimension, manifest.dimension),
        "chunk_values": (rule.chunk_values, manifest.chunk_values),
        "scale_bits": (rule.scale_bits, manifest.scale_bits),
    }
    for field, (found, expected) in pairs.items():
        if found != expected:
            raise VerificationError(f"rule: {field} is {found}, the manifest gives {expected}")
