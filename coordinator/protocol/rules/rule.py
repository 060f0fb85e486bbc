"""The announced aggregation rule: which values make sense, and when a round may use it.

Not handled: the arithmetic (``aggregation``) and the digest (``commitment.rule_hash``).
"""

from enum import IntEnum
from typing import TypeVar

from coordinator.protocol.errors import AggregationError, ConfigError, VerificationError
from coordinator.protocol.numbers.manifest import (
    MAX_CHUNK_VALUES,
    MAX_DIMENSION,
    MAX_SCALE_BITS,
    Manifest,
)
from coordinator.protocol.types import WEIGHT_TOTAL, Rule

_Enum = TypeVar("_Enum", bound=IntEnum)

RULE_VERSION = 1
Q16_ONE = 1 << 16
"""1.0 in the fixed point of the server's learning rate and momentum."""

MAX_EXAMPLES_CAP = (1 << 40) - 1
"""So that the capped examples of 2^24 contributors still sum within a ``uint64``."""


class RuleKind(IntEnum):
    """``Rule.kind``; numbers are committed and never reused."""

    FEDAVG = 1
    MEDIAN = 2
    TRIMMED_MEAN = 3


class Weighting(IntEnum):
    """``Rule.weighting``: what a contributor's share of the weights is."""

    EXAMPLES = 1
    UNIFORM = 2


_RANGES: dict[str, tuple[int, int]] = {
    "version": (RULE_VERSION, RULE_VERSION),
    "kind": (1, (1 << 8) - 1),
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


def is_known(rule: Rule) -> bool:
    """Return whether the rule's kind has a number here."""
    return rule.kind in set(RuleKind)


def validate_rule(rule: Rule) -> None:
    """Check that a rule can be announced.

    Raises
    ------
    ConfigError
        If the kind is unknown, a field is out of its range, or two contradict each other; the
        message names them.
    """
    check_fields(rule)
    _member(RuleKind, rule.kind, "kind")


def check_fields(rule: Rule) -> None:
    """Check a rule as the record examiner does: a kind that is not known here is no fault.

    Raises
    ------
    ConfigError
        If a field is out of its range, or two contradict each other; the message names them.
    """
    for field, (low, high) in _RANGES.items():
        value = getattr(rule, field)
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(f"rule: {field} is {value!r}, expected an integer {low} to {high}")
    for field in ("manifest_hash", "scoring_hash"):
        value = getattr(rule, field)
        if type(value) is not bytes or len(value) != 32:
            raise ConfigError(f"rule: {field} is {value!r}, expected 32 bytes")
    weighting = _member(Weighting, rule.weighting, "weighting")
    if not is_known(rule):
        return  # what such a kind allows is not known here (ADR 0132)
    kind = RuleKind(rule.kind)
    if kind is RuleKind.FEDAVG and rule.num_byzantine:
        raise ConfigError(
            f"rule: num_byzantine is {rule.num_byzantine}, expected 0 with kind fedavg, which "
            "withstands no hostile contributor; choose median or trimmed_mean"
        )
    if kind is not RuleKind.FEDAVG and weighting is not Weighting.UNIFORM:
        raise ConfigError(
            f"rule: weighting is examples, expected uniform with kind {kind.name.lower()}, "
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


def quorum(rule: Rule) -> int:
    """Return the fewest valid updates a round needs: ``min_contributors``, and above ``2 f``."""
    return max(rule.min_contributors, 2 * rule.num_byzantine + 1)


def check_fault_bound(rule: Rule, n: int) -> None:
    """Check that ``n`` valid updates are enough for the rule.

    Raises
    ------
    AggregationError
        If ``n < min_contributors``, or ``n <= 2 f`` under a kind that is known here.
    """
    if n < rule.min_contributors:
        raise AggregationError(
            f"{n} valid updates, expected at least min_contributors = {rule.min_contributors}"
        )
    if is_known(rule) and n <= 2 * rule.num_byzantine:
        raise AggregationError(
            f"{n} valid updates, expected more than 2 * num_byzantine = {2 * rule.num_byzantine} "
            f"({aggregator_name(rule)})"
        )


def capped_examples(rule: Rule, examples: int) -> int:
    """Return ``min(examples, examples_cap)``: what a self-reported count is worth at most."""
    return min(examples, rule.examples_cap)


def aggregator_name(rule: Rule) -> str:
    """Return the rule's name in configs: ``fedavg``, ``median`` or ``trimmed_mean``.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """
    return _member(RuleKind, rule.kind, "kind").name.lower()


def _member(enum: type[_Enum], value: int, field: str) -> _Enum:
    try:
        return enum(value)
    except ValueError as error:
        names = ", ".join(f"{member.value} {member.name.lower()}" for member in enum)
        raise ConfigError(f"rule: {field} is {value!r}, expected one of {names}") from error
