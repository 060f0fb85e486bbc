"""Averages contributors' own metrics, which are informative only and decide nothing."""

from collections.abc import Callable

# isort: split
from flwr.app import MetricRecord, RecordDict


def weighted_means(examples_cap: int) -> Callable[[list[RecordDict], str], MetricRecord]:
    """Return a function with the signature of Flower's ``*_metrics_aggr_fn``.

    Each scalar metric is averaged over the replies that have it, weighted by their examples up to
    ``examples_cap``; lists are left out. Sums run in the order given: the service gives
    contributors in order of address, so the order of replies does not change the result.
    """

    def average(records: list[RecordDict], weighted_by: str) -> MetricRecord:
        sums: dict[str, tuple[float, float]] = {}
        for record in records:
            (metrics,) = record.metric_records.values()
            examples = metrics[weighted_by]
            weight = float(min(examples, examples_cap)) if isinstance(examples, int) else 0.0
            for name, value in metrics.items():
                if name != weighted_by and isinstance(value, int | float):
                    total, weights = sums.get(name, (0.0, 0.0))
                    sums[name] = (total + weight * value, weights + weight)
        return MetricRecord({name: total / weights for name, (total, weights) in sums.items()})

    return average
