"""Metrics of the global model: one file each, with options and computation in one class.

Loss and accuracy are always measured; these only if an experiment names them. A file of this
package that defines a :class:`Metric` with a ``kind`` is a kind of ``[[metrics]]``; a class
elsewhere is named as ``kind = "module:Name"``. Metrics are for reports: no result depends on them,
and they are not on chain.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry, outside_code
from coordinator.settings.kinds import ByKind, kind_of
from simulations.metrics.base import Measured, Metric, Predictions, recorded_name

__all__ = [
    "METRICS",
    "Measured",
    "Metric",
    "MetricTable",
    "Predictions",
    "measure",
    "recorded_name",
]

METRICS: Registry[type[Metric]] = Registry.of_classes(
    __name__,
    Metric,  # type: ignore[type-abstract]  # no instance is made of it
    what="metric",
    name_of=kind_of,
)


def _table(raw: Any) -> Any:
    if isinstance(raw, str):
        return {"kind": raw}
    if not isinstance(raw, Mapping | Metric):
        raise PydanticCustomError("name_or_table", "neither a name nor a table")
    return raw


MetricTable = Annotated[Metric, ByKind(METRICS), BeforeValidator(_table)]
"""One ``[[metrics]]`` table, or its kind alone."""


def measure(metrics: Sequence[Metric], given: Predictions) -> dict[str, float | None]:
    """Compute all metrics of an experiment for one model.

    Returns
    -------
    Values by name: the metric's name or else its kind, with a dot and the value's own name where a
    metric has several. ``None`` where a metric is undefined or not finite.

    Raises
    ------
    ConfigError
        If a metric from outside the package raises, or a metric returns anything but numbers.
    """
    values: dict[str, float | None] = {}
    for index, metric in enumerate(metrics):
        place = f'metrics.{index}.kind = "{metric.kind}"'
        measured: Any = None
        with outside_code(metric.kind, f"{place}: measure"):
            measured = metric.measure(given)
        recorded = recorded_name(metric)
        if isinstance(measured, Mapping) and measured:
            for name, value in measured.items():
                values[f"{recorded}.{name}"] = _number(value, f"{place}: {name}")
        else:
            values[recorded] = _number(measured, place)
    return values


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(
            f"{place}: measure returned {value!r}, expected a number, None, or those by name"
        )
    return float(value) if math.isfinite(value) else None
