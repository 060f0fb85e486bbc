"""The scoring rules there are: those of this package's files, and named ones from outside."""

from collections.abc import Mapping
from typing import Any

from coordinator.protocol.errors import ConfigError, UnknownRuleError
from coordinator.protocol.registry import Registry
from coordinator.protocol.scores.base import ScoreInput, ScoringRule
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound

SCORES: Registry[ScoringRule] = Registry.of_objects(
    "coordinator.protocol.scores",
    ScoringRule,
    what="score",
    name_of=lambda rule: rule.name,
)


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
        If an option is wrong, an evaluation set is missing, or the rule returns something else than
        one integer ``>= 0`` a contributor.
    """
    rule = SCORES.loaded(kind)
    if rule is None:
        raise UnknownRuleError(
            f"scoring rule {kind!r} is unknown, expected one of {list(SCORES.names())}"
        )
    if rule.needs_evaluation and evaluate is None:
        raise ConfigError(f"score {kind} needs a committed evaluation set, none was given")
    found = rule.score(ScoreInput(scored, evaluate, rule.settings(options or {})))
    if len(found) != len(scored.contributors) or not all(type(s) is int and s >= 0 for s in found):
        raise ConfigError(
            f"score {kind} returned {found!r}, expected {len(scored.contributors)} integers >= 0"
        )
    return found
