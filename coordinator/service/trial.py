"""A rule and a score from outside the package, tried on made-up updates before a round is opened.

What they return is checked in every round as well; but there it is too late for a mistake in their
code: the round is void, or sealed and not scored (ADR 0133). Not handled: mistakes that only other
updates show, and results that differ from machine to machine.
"""

from collections.abc import Sequence

import numpy as np

from coordinator.protocol.errors import AggregationError, ConfigError, OutsideCodeError
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.registry import SEPARATOR, failure_of
from coordinator.protocol.rules.base import AggregationInput
from coordinator.protocol.rules.chosen import ChosenRule, chosen
from coordinator.protocol.rules.rows import check_vector
from coordinator.protocol.scores.registry import SCORES, score
from coordinator.protocol.scores.scoring_round import ScoringRound
from coordinator.protocol.types import Address, Int32Vector, JsonObject, Rule

_FEW = 3
"""Updates of a trial, where the rule does not ask for more: memory for large models."""
_LARGEST = 1000
"""Of a made-up value, in units of the integer update."""


def try_outside_code(rule: Rule, scoring: JsonObject) -> None:
    """Apply rule and score to a made-up round where their code is from outside the package.

    Parameters
    ----------
    rule
        As it will be announced; its code is loaded.
    scoring
        The scoring document; its score's code is loaded.

    Raises
    ------
    OutsideCodeError
        If one raises something else than ``AggregationError``, or what it returns is not what a
        rule or a score returns. Begins with the key of the settings that names it.
    UnknownRuleError
        If one is not loaded.
    """
    known, kind = chosen(rule), str(scoring["kind"])
    if SEPARATOR not in known.name and SEPARATOR not in kind:
        return
    updates = _updates(max(known.rule.fewest(rule.num_byzantine), _FEW), rule.dimension)
    if SEPARATOR in known.name:
        _try_rule(known, rule, updates)
    if SEPARATOR in kind:
        _try_score(kind, scoring, rule, updates)


def _updates(n: int, dimension: int) -> list[Int32Vector]:
    """Return ``n`` different vectors, read-only as those of a round are."""
    generator = np.random.Generator(np.random.PCG64(0))
    updates = [generator.integers(-_LARGEST, _LARGEST, dimension, np.int32) for _ in range(n)]
    for update in updates:
        update.flags.writeable = False
    return updates


def _members(n: int) -> list[Address]:
    return [Address(f"0x{i:040d}") for i in range(n)]  # of digits alone: they have no checksum


def _weights(n: int) -> list[int]:
    return apportion([1] * n, _members(n))


def _try_rule(known: ChosenRule, rule: Rule, updates: Sequence[Int32Vector]) -> None:
    weights = _weights(len(updates))
    given = AggregationInput(updates, weights, rule.num_byzantine, known.options)
    try:
        result = known.rule.aggregate(given)
    except AggregationError:
        return  # it may refuse what nobody would send
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out of it
        raise OutsideCodeError(
            f"aggregator.kind: rule {known.name} failed: {failure_of(error)}"
        ) from error
    try:
        check_vector(result, f"aggregate of rule {known.name}", rule.dimension)
    except AggregationError as error:
        raise OutsideCodeError(f"aggregator.kind: {error}") from error


def _try_score(kind: str, scoring: JsonObject, rule: Rule, updates: Sequence[Int32Vector]) -> None:
    n = len(updates)
    made_up = ScoringRound(
        contributors=_members(n),
        examples=[1] * n,
        weights=_weights(n),
        updates=updates,
        base_model=np.zeros(rule.dimension, np.int32),
        rule=rule,
        seed=bytes(32),
    )
    known = SCORES.loaded(kind)
    evaluate = (lambda _model: 0) if known is not None and known.needs_evaluation else None
    try:
        score(kind, made_up, evaluate=evaluate, options=scoring.get("settings"))
    except AggregationError:
        return
    except ConfigError as error:
        raise OutsideCodeError(f"scoring.kind: {error}") from error
