"""Prometheus' text format, version 0.0.4: the few lines of it that are needed.

References
----------
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
from collections.abc import Mapping
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """Collects samples and writes them as text.

    Examples
    --------
    >>> page = Exposition()
    >>> page.family("fedproof_online", "gauge", "Contributors that are there.")
    >>> page.sample("fedproof_online", 3)
    >>> print(page.text(), end="")
    # HELP fedproof_online Contributors that are there.
    # TYPE fedproof_online gauge
    fedproof_online 3
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: Kind, meaning: str) -> None:
        """Begin a metric; its samples follow."""
        shown = meaning.replace("\\", r"\\").replace("\n", r"\n")
        self._lines += [f"# HELP {name} {shown}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, value: float, **labels: str) -> None:
        """Add one sample of the metric begun last."""
        named = ",".join(f'{k}="{v.translate(_ESCAPES)}"' for k, v in labels.items())
        self._lines.append(f"{name}{{{named}}} {_number(value)}" if named else _plain(name, value))

    def single(self, name: str, kind: Kind, meaning: str, value: float) -> None:
        """Add a metric that has one sample and no labels."""
        self.family(name, kind, meaning)
        self.sample(name, value)

    def by_label(
        self, name: str, kind: Kind, meaning: str, label: str, values: Mapping[str, float]
    ) -> None:
        """Add a metric with one sample for each value of a label, in order of the label."""
        self.family(name, kind, meaning)
        for key in sorted(values):
            self.sample(name, values[key], **{label: key})

    def text(self) -> str:
        """Return the page."""
        return "".join(f"{line}\n" for line in self._lines)


def _plain(name: str, value: float) -> str:
    return f"{name} {_number(value)}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
