"""Scores: non-negative integers that a round's reward is split by (PROTOCOL §6).

One file a score, one registry; CONTRIBUTING.md says how to add one. A score is a pure function of
committed data and a seed, so that anyone can compute it again and get the same integers.
"""

from coordinator.protocol.scores.architecture import (
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2,
    Relu,
)
from coordinator.protocol.scores.base import ScoreInput, ScoringRule
from coordinator.protocol.scores.exact_model import correct, logits, utility
from coordinator.protocol.scores.examples import examples
from coordinator.protocol.scores.leave_one_out import LeaveOneOutSettings, leave_one_out
from coordinator.protocol.scores.registry import SCORES, score
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound

__all__ = [
    "SCORES",
    "Architecture",
    "Conv2d",
    "Evaluate",
    "Flatten",
    "Layer",
    "LeaveOneOutSettings",
    "Linear",
    "MaxPool2",
    "Relu",
    "ScoreInput",
    "ScoringRound",
    "ScoringRule",
    "correct",
    "examples",
    "leave_one_out",
    "logits",
    "score",
    "utility",
]
