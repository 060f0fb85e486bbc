"""The section on how the global model is tested."""

from pydantic import Field

from coordinator.settings.base import Section


class Evaluation(Section):
    """When the global model is tested: every so many rounds, and after the last."""

    every: int = Field(default=1, ge=1)
