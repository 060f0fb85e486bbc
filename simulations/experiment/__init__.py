"""The experiment schema: one typed, frozen record for one TOML file.

Sections live in ``training`` (data, partition, model), ``federation`` (cohort, rule, money,
chain) and ``behaviours``; ``experiment`` joins them. ``docs/experiments.md`` is the reference.
"""

from coordinator.settings.base import parse_wei
from coordinator.settings.learning import CnnModel, LogisticModel, MlpModel, Model, Training
from coordinator.settings.terms import (
    Aggregator,
    ExamplesScoring,
    FedAvgAggregator,
    LeaveOneOutScoring,
    MedianAggregator,
    Numbers,
    Rewards,
    Scoring,
    Stake,
    TrimmedMeanAggregator,
)
from simulations.experiment.federation import Chain, Cohort, Watcher
from simulations.experiment.schema import Experiment
from simulations.experiment.training import (
    BreastCancerData,
    BySitePartition,
    Data,
    DigitsData,
    DirichletPartition,
    Evaluation,
    FashionMnistData,
    HeartDiseaseData,
    HubData,
    IidPartition,
    Partition,
)

__all__ = [
    "Aggregator",
    "BreastCancerData",
    "BySitePartition",
    "Chain",
    "CnnModel",
    "Cohort",
    "Data",
    "DigitsData",
    "DirichletPartition",
    "Evaluation",
    "ExamplesScoring",
    "Experiment",
    "FashionMnistData",
    "FedAvgAggregator",
    "HeartDiseaseData",
    "HubData",
    "IidPartition",
    "LeaveOneOutScoring",
    "LogisticModel",
    "MedianAggregator",
    "MlpModel",
    "Model",
    "Numbers",
    "Partition",
    "Rewards",
    "Scoring",
    "Stake",
    "Training",
    "TrimmedMeanAggregator",
    "Watcher",
    "parse_wei",
]
