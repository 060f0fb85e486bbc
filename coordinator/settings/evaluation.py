"""``[evaluation]``: how often the model is evaluated between rounds, and on what.

Part of what a federation agrees on: which examples a participant keeps apart must not change from
round to round. Not handled: how long the coordinator waits for answers (``coordinator.toml``).
"""

from pydantic import Field

from coordinator.settings.base import Section


class Evaluation(Section):
    """After every so many sealed rounds, and after the last.

    ``test_share`` of its examples, at least one, a participant with the built-in trainer never
    trains on, and evaluates the model on. An application of one's own sees to that itself.
    """

    every: int = Field(default=1, ge=1, le=1_000_000)
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)

    def is_due(self, height: int, *, is_last: bool) -> bool:
        """Return whether the round at a height of the chain of rounds, from 1, is evaluated."""
        return height > 0 and (is_last or height % self.every == 0)
