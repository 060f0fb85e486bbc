"""``[evaluation]``: how often the model is evaluated between rounds, and on what.

Part of what a federation agrees on: which examples a participant keeps apart must not change from
round to round. Not handled: how long the coordinator waits for answers (``coordinator.toml``).
"""

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from coordinator.settings.base import Section


class Evaluation(Section):
    """After every so many sealed rounds, and after the last.

    ``test_share`` of its examples, at least one, a participant with the built-in trainer never
    trains on, and evaluates the model on. An application of one's own sees to that itself.
    ``public_set`` is the SHA-256 of the public examples that the coordinator evaluates the model
    on, empty for none.
    """

    every: int = Field(default=1, ge=1, le=1_000_000)
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    public_set: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_serializer(mode="wrap")
    def _without_what_is_not(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a set that there is not: an agreement without keeps its digest (ADR 0167)."""
        fields: dict[str, Any] = handler(self)
        if not self.public_set:
            fields.pop("public_set", None)
        return fields

    def is_due(self, height: int, *, is_last: bool) -> bool:
        """Return whether the round at a height of the chain of rounds, from 1, is evaluated."""
        return height > 0 and (is_last or height % self.every == 0)


class FoundingEvaluation(Section):
    """The section of a founding file: ``data`` is the public set's file, an ``.npz`` or ``.csv``.

    ``examples`` of it are taken, the first ones; 0 is all.
    """

    every: int = Field(default=1, ge=1, le=1_000_000)
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    data: str = ""
    examples: int = Field(default=0, ge=0)

    def agreed(self, public_set: str) -> Evaluation:
        """Return what is agreed on, with the digest of the public set."""
        return Evaluation(every=self.every, test_share=self.test_share, public_set=public_set)
