"""Learning rates by round: the schedules of ``torch.optim.lr_scheduler``, or a function.

Imports torch, which takes seconds: settings without a schedule do without this module. Not handled:
rates that change inside a round, and schedules that look at the loss.
"""

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import torch
from torch.optim.lr_scheduler import LRScheduler

from coordinator.protocol.registry import SEPARATOR
from coordinator.settings.foreign import called, outside_function

KEY: Final = "training.schedule"
_OWN: Final = frozenset({"optimizer", "last_epoch", "verbose"})
"""Arguments of torch's that are not the file's."""
_OBJECTS: Final = frozenset({"lr_lambda", "schedulers"})
"""Arguments that no file can hold: schedules that have them are not offered."""


def schedule_names() -> list[str]:
    """Return the names of torch's schedules, sorted: its classes' in lower case."""
    return sorted(_classes())


class Schedule:
    """The learning rate of each round; rates are kept as they are worked out.

    Parameters
    ----------
    name
        One of :func:`schedule_names`, whose steps are rounds; or ``module:function``, called as
        ``function(round, learning_rate, **options)``, rounds from 1.
    learning_rate
        The rate that the schedule starts from.
    options
        Arguments of torch's class by its names, or of the function.

    Raises
    ------
    ValueError
        In one line that begins with the key: if there is no such schedule, it has no such option,
        or it refuses a value.
    """

    def __init__(self, name: str, learning_rate: float, options: Mapping[str, Any]) -> None:
        self._name, self._options = name, dict(options)
        self._learning_rate = learning_rate
        self._place = f'{KEY} = "{name}"'
        self._rates: list[float] = []
        if SEPARATOR in name:
            self._function = outside_function(name, KEY)
            return
        kind = _classes().get(name)
        if kind is None:
            names = ", ".join(schedule_names())
            raise ValueError(f"{self._place}: expected one of {names}, or module:function")
        known = _arguments(kind)
        for key in options:
            if key not in known:
                raise ValueError(
                    f"training.schedule_options.{key}: {name} has no such option; it has "
                    f"{', '.join(sorted(known))}"
                )
        self._optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
        self._steps: LRScheduler = called(self._place, kind, self._optimizer, **self._options)
        self._keep(self._optimizer.param_groups[0]["lr"])

    def rate(self, round_id: int) -> float:
        """Return the learning rate of a round, from 1.

        Raises
        ------
        ValueError
            If the schedule has none for that round, or what it gives is no rate.
        """
        if SEPARATOR in self._name:
            rate = called(
                self._place, self._function, round_id, self._learning_rate, **self._options
            )
            return self._checked(rate, round_id)
        while len(self._rates) < round_id:
            self._optimizer.step()
            called(f"{self._place}, round {len(self._rates) + 1}", self._steps.step)
            self._keep(self._optimizer.param_groups[0]["lr"])
        return self._rates[round_id - 1]

    def _keep(self, rate: Any) -> None:
        self._rates.append(self._checked(float(rate), len(self._rates) + 1))

    def _checked(self, rate: Any, round_id: int) -> float:
        is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if not is_number or not math.isfinite(rate) or rate < 0:
            raise ValueError(
                f"{self._place}: gives {rate!r} for round {round_id}, expected a number of 0 or "
                "more"
            )
        return float(rate)


def check_schedule(
    name: str, learning_rate: float, options: Mapping[str, Any], rounds: int = 1
) -> None:
    """Work out the rates of so many rounds; errors are those of :class:`Schedule`."""
    schedule = Schedule(name, learning_rate, options)
    for round_id in (1, 2, rounds) if SEPARATOR in name else (rounds,):
        schedule.rate(round_id)


@cache
def _classes() -> dict[str, type[LRScheduler]]:
    module = torch.optim.lr_scheduler
    public = (getattr(module, name) for name in module.__all__)
    return {
        one.__name__.lower(): one
        for one in public
        if isinstance(one, type)
        and issubclass(one, LRScheduler)
        and one is not LRScheduler
        and not _OBJECTS & {*inspect.signature(one).parameters}
        and not _wants_metrics(one)
    }


def _wants_metrics(kind: type[LRScheduler]) -> bool:
    """Return whether a step needs to know how well training does."""
    parameters = [*inspect.signature(kind.step).parameters.values()][1:]
    return any(one.default is inspect.Parameter.empty for one in parameters)


def _arguments(kind: type[LRScheduler]) -> set[str]:
    """Return the options a file may set; only the rate is taken, so momentum cannot be cycled."""
    names = {*inspect.signature(kind).parameters} - _OWN
    return {name for name in names if "momentum" not in name}
