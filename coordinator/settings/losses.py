"""Losses by name: functions of ``torch.nn.functional`` on logits and classes, or one's own.

Imports torch, which takes seconds: settings with plain cross-entropy do without this module.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

import torch
from torch.nn import functional

from coordinator.protocol.registry import SEPARATOR
from coordinator.settings.foreign import called, outside_function

KEY: Final = "training.loss"
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits ``(batch, classes)`` and classes ``(batch,)``, int64, to a single number."""
_OWN: Final = frozenset({"input", "target", "size_average", "reduce"})
"""Arguments of torch's that are not the file's; the last two are deprecated."""
_EXAMPLES: Final = 5


@cache
def loss_names() -> tuple[str, ...]:
    """Return torch's losses that take logits and classes, sorted; found by trying them."""
    return tuple(name for name in sorted(dir(functional)) if _is_offered(name))


def make_loss(name: str, options: Mapping[str, Any]) -> Loss:
    """Return a loss.

    Parameters
    ----------
    name
        One of :func:`loss_names`, or ``module:function``, called as
        ``function(logits, labels, **options)``.
    options
        Further arguments, by the function's names. For torch's, a list stands for a float32 tensor:
        ``weight``, one number a class.

    Raises
    ------
    ValueError
        In one line that begins with the key: if there is no such loss, or it has no such option.
    """
    if SEPARATOR in name:
        function = outside_function(name, KEY)
        return partial(called, f'{KEY} = "{name}"', function, **options)
    if name not in loss_names():
        names = ", ".join(loss_names())
        raise ValueError(f'{KEY} = "{name}": expected one of {names}, or module:function')
    known = {*inspect.signature(getattr(functional, name)).parameters} - _OWN
    for key in options:
        if key not in known:
            raise ValueError(
                f"training.loss_options.{key}: {name} has no such option; it has "
                f"{', '.join(sorted(known))}"
            )
    given = {
        key: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value
        for key, value in options.items()
    }
    return partial(called, f'{KEY} = "{name}"', getattr(functional, name), **given)


def check_loss(name: str, options: Mapping[str, Any], classes: int | None = None) -> None:
    """Try a loss on made-up logits, and on their gradient.

    Parameters
    ----------
    classes
        How many classes there are; without it, as many as ``weight`` has, or 3.

    Raises
    ------
    ValueError
        As :func:`make_loss`, and if the loss raises or is no single finite number that logits can
        be trained by.
    """
    weight = options.get("weight")
    if classes is not None and isinstance(weight, list) and len(weight) != classes:
        raise ValueError(
            f"training.loss_options.weight has {len(weight)} numbers, the model has {classes} "
            "classes"
        )
    count = classes or (len(weight) if isinstance(weight, list) and weight else 3)
    loss = make_loss(name, options)
    logits = torch.linspace(-1.0, 1.0, _EXAMPLES * count).reshape(_EXAMPLES, count)
    logits.requires_grad_()
    value: Any = loss(logits, torch.arange(_EXAMPLES) % count)
    place = f'{KEY} = "{name}"'
    if not isinstance(value, torch.Tensor) or value.shape != ():
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
        raise ValueError(
            f"{place}: gives {type(value).__name__}{shape}, expected a tensor with a single number"
        )
    if not math.isfinite(float(value.detach())):
        raise ValueError(
            f"{place}: gives {float(value.detach())} for small logits, expected a finite number"
        )
    if not value.requires_grad:
        raise ValueError(f"{place}: has no gradient, expected a result that depends on the logits")
    called(place, value.backward)


def _is_offered(name: str) -> bool:
    """Return whether a name is a loss of logits and classes, without further arguments."""
    if not name.endswith(("_loss", "cross_entropy")):
        return False
    logits, labels = torch.zeros(_EXAMPLES, 3), torch.arange(_EXAMPLES) % 3
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = getattr(functional, name)(logits, labels)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        return False
    return isinstance(value, torch.Tensor) and value.shape == ()
