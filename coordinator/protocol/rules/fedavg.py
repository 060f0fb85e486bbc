"""FedAvg: the weighted mean of the updates.

References
----------
McMahan et al., AISTATS 2017, arXiv:1602.05629. Here in fixed point
(:mod:`~coordinator.protocol.rules.weighted_mean`).
"""

from coordinator.protocol.options import Option
from coordinator.protocol.rules.base import (
    WEIGHTING,
    AggregationRule,
    WeightedColumns,
)
from coordinator.protocol.rules.weighted_mean import weighted_mean

FEDAVG = AggregationRule(
    number=1,
    name="fedavg",
    aggregate=lambda given: weighted_mean(given.updates, given.weights, threads=given.threads),
    fewest=lambda _: 1,
    bound="f = 0",
    options=(Option(WEIGHTING, "examples", choices=("examples", "uniform")),),
    withstands_byzantine=False,
    provability=WeightedColumns(),
)
