"""The experiment schema: one typed, frozen record for one TOML file.

Sections with kinds are in the packages of these kinds: :mod:`simulations.data`,
:mod:`simulations.partitions`, :mod:`simulations.attacks`. The others are here and in
:mod:`coordinator.settings`; ``schema`` combines them. ``docs/experiments.md`` is the reference.
"""

from coordinator.settings.base import parse_wei
from coordinator.settings.learning import Training
from coordinator.settings.models import Model
from coordinator.settings.models.cnn import CnnModel
from coordinator.settings.models.logistic import LogisticModel
from coordinator.settings.models.mlp import MlpModel
from coordinator.settings.terms import (
    Numbers,
    Rewards,
    Stake,
)
from simulations.experiment.evaluation import Evaluation
from simulations.experiment.federation import Chain, Cohort, Watcher
from simulations.experiment.schema import Experiment

__all__ = [
    "Chain",
    "CnnModel",
    "Cohort",
    "Evaluation",
    "Experiment",
    "LogisticModel",
    "MlpModel",
    "Model",
    "Numbers",
    "Rewards",
    "Stake",
    "Training",
    "Watcher",
    "parse_wei",
]
