"""Models that a federation can learn: one file each, with its options and what it builds.

A file of this package that defines a :class:`ModelKind` with a ``kind`` is a kind of ``[model]``; a
class elsewhere is named as ``kind = "module:Name"``. Any torch module of one's own needs neither:
``kind = "python"`` names a function or a class that makes it.
"""

from typing import Annotated

from coordinator.protocol.registry import Registry
from coordinator.settings.kinds import ByKind, kind_of
from coordinator.settings.models.base import ModelKind

__all__ = ["MODELS", "Model", "ModelKind"]


def _is_kind(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ModelKind) and value is not ModelKind


MODELS: Registry[type[ModelKind]] = Registry(
    __name__,
    what="model",
    accepts=_is_kind,
    expects='a class derived from ModelKind; a torch module is named by kind = "python" and '
    'function = "module:name"',
    name_of=kind_of,
)
Model = Annotated[ModelKind, ByKind(MODELS, default="mlp")]
"""The ``[model]`` section."""
