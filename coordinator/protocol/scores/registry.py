"""The scoring rules there are: those of this package's files, and named ones from outside."""

from collections.abc import Mapping
from typing import Any

from coordinator.protocol.errors import ConfigError, FedproofError, UnknownRuleError
from coordinator.protocol.registry import SEPARATOR, Registry, failure_of
from coordinator.protocol.scores.base import ScoreInput, ScoringRule
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound

SCORES: Registry[ScoringRule] = Registry.of_objects(
    "coordinator.protocol.scores",
    ScoringRule,
    what="score",
    name_of=lambda rule: rule.name,
)


_LIMIT = 1 << 64
"""Scores are committed as ``uint64``."""


def score(
    kind: str,
    scored: ScoringRound,
    *,
    evaluate: Evaluate | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[int]:
    """Apply the scoring rule ``kind``; one integer ``>= 0`` for each contributor, in order.

    Parameters
    ----------
    kind
        A name of the registry; nothing is imported.
    options
        Those of the rule that are not at their default.

    Raises
    ------
    UnknownRuleError
        If there is no such rule in this process.
    ConfigError
        If an option is wrong, an evaluation set is missing, the rule returns something else than
        one integer from 0 to 2^64 - 1 a contributor, or its code from outside the package raises.
    """
    rule = SCORES.loaded(kind)
    if rule is None:
        raise UnknownRuleError(
            f"scoring rule {kind!r} is unknown, expected one of {list(SCORES.names())}"
        )
    if rule.needs_evaluation and evaluate is None:
        raise ConfigError(f"score {kind} needs a committed evaluation set, none was given")
    given = ScoreInput(scored, evaluate, rule.settings(options or {}))
    try:
        scores = rule.score(given)
    except Exception as error:
        if SEPARATOR not in kind or isinstance(error, FedproofError):
            raise
        raise ConfigError(f"score {kind} failed: {failure_of(error)}") from error
    if not isinstance(scores, list) or not all(type(s) is int and 0 <= s < _LIMIT for s in scores):
        raise ConfigError(
            f"score {kind} returned {scores!r:.80}, expected a list of integers from 0 to 2^64 - 1"
        )
    n = len(scored.contributors)
    if len(scores) != n:
        raise ConfigError(f"score {kind} returned {len(scores)} scores for {n} contributors")
    return scores
