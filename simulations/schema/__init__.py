"""The experiment schema: one typed, frozen record for one TOML file.

Sections live in ``training`` (data, partition, model), ``federation`` (cohort, rule, money,
chain) and ``behaviours``; ``experiment`` joins them. ``docs/experiments.md`` is the reference.
"""

from simulations.schema.attacks import AttackConfig
from simulations.schema.base import parse_wei
from simulations.schema.behaviours import BehaviourConfig
from simulations.schema.experiment import Experiment
from simulations.schema.federation import (
    Aggregator,
    Chain,
    Cohort,
    ExamplesScoring,
    FedAvgAggregator,
    LeaveOneOutScoring,
    MedianAggregator,
    Numbers,
    Rewards,
    Scoring,
    Stake,
    TrimmedMeanAggregator,
    Watcher,
)
from simulations.schema.training import (
    BreastCancerData,
    BySitePartition,
    CnnModel,
    Data,
    DigitsData,
    DirichletPartition,
    Evaluation,
    FashionMnistData,
    HeartDiseaseData,
    HubData,
    IidPartition,
    LogisticModel,
    MlpModel,
    Model,
    Partition,
    Training,
)

__all__ = [
    "Aggregator",
    "AttackConfig",
    "BehaviourConfig",
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
