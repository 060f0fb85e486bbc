"""The section ``[evaluation]``: tests of the global model."""

from pydantic import Field

from coordinator.settings.base import Section


class Evaluation(Section):
    """Test the global model every ``every`` rounds, and after the last one."""

    every: int = Field(default=1, ge=1)
