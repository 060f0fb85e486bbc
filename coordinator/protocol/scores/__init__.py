"""Scores: non-negative integers that a round's reward is split by (PROTOCOL §6).

One file a score, one registry. A score is a pure function of committed data and a seed, so that
anyone can compute it again and get the same integers.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import (
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2,
    Relu,
)
from coordinator.protocol.scores.exact_model import correct, logits, utility
from coordinator.protocol.scores.examples import examples
from coordinator.protocol.scores.leave_one_out import LeaveOneOutSettings, leave_one_out
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound

__all__ = [
    "SCORERS",
    "Architecture",
    "Conv2d",
    "Evaluate",
    "Flatten",
    "Layer",
    "LeaveOneOutSettings",
    "Linear",
    "MaxPool2",
    "Relu",
    "Scorer",
    "ScoringRound",
    "correct",
    "examples",
    "leave_one_out",
    "logits",
    "score",
    "utility",
]

Scorer = Callable[[ScoringRound, Evaluate | None, LeaveOneOutSettings | None], list[int]]
"""``(round, evaluate, settings) -> scores`` in the order of the contributors."""


def _leave_one_out(
    scored: ScoringRound, evaluate: Evaluate | None, settings: LeaveOneOutSettings | None
) -> list[int]:
    if evaluate is None:
        raise ConfigError("score leave_one_out needs a committed evaluation set, none was given")
    return leave_one_out(scored, evaluate, settings)


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        "examples": lambda scored, _evaluate, _settings: examples(scored),
        "leave_one_out": _leave_one_out,
    }
)
"""Scoring rules by the name a config uses."""


def score(
    kind: str,
    scored: ScoringRound,
    *,
    evaluate: Evaluate | None = None,
    settings: LeaveOneOutSettings | None = None,
) -> list[int]:
    """Apply the scoring rule ``kind``; one integer ``>= 0`` for each contributor, in order.

    Raises
    ------
    ConfigError
        If the rule is unknown, or lacks what it needs.
    """
    if kind not in SCORERS:
        raise ConfigError(f"scoring rule {kind!r} is unknown, expected one of {sorted(SCORERS)}")
    return SCORERS[kind](scored, evaluate, settings)
