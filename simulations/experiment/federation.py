"""Sections that only a simulation has: cohort, simulated chain, watcher."""

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from coordinator.settings.base import Section
from coordinator.settings.terms import Seconds


def _hexadecimal(raw: Any) -> Any:
    """Return an address that TOML parsed as a number, because it had no quotes, as text."""
    is_number = isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 1 << 160
    return f"0x{raw:040x}" if is_number else raw


OptionalAddress = Annotated[
    str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$"), BeforeValidator(_hexadecimal)
]
"""0x and 40 hexadecimal digits, or empty."""


class Cohort(Section):
    """Number of contributors of a round; 0 is resolved when the experiment is loaded.

    ``size`` 0 becomes every client; ``min_contributors`` 0 becomes the fewest updates that the
    aggregator's fault bound allows. In a ``sealed`` federation contributors commit to their updates
    before any of them uploads one.
    """

    size: int = Field(default=0, ge=0)
    min_contributors: int = Field(default=0, ge=0)
    sealed: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit ``sealed`` if it is false: older experiments then keep their digest."""
        dumped: dict[str, Any] = fields(self)
        return dumped if self.sealed else {k: v for k, v in dumped.items() if k != "sealed"}


class Chain(Section):
    """Windows of the contract and the clock of the simulated chain, in seconds of chain time.

    ``answer_s`` is the time that a coordinator has to answer a question of a dispute; 0 is resolved
    at load to ten minutes, or to a fifth of ``unbonding_s`` if that is less.
    """

    chain_id: int = Field(default=1337, ge=1, lt=2**53)
    challenge_window_s: Seconds = 60
    round_deadline_s: Annotated[Seconds, Field(ge=1)] = 3_600
    min_open_s: Seconds = 0
    unbonding_s: Seconds = 7_200
    answer_s: Seconds = 0
    block_time_s: Annotated[Seconds, Field(ge=1)] = 1


class Watcher(Section):
    """The simulation's own watcher, which checks every round and challenges fraud.

    It checks a round only once ``lag_rounds`` newer ones are sealed: fraud is then proven although
    later rounds build on it. With ``interactive`` it asks for columns even where one transaction
    suffices. ``address`` is funded at genesis for a watcher in another process.
    """

    enabled: bool = False
    lag_rounds: int = Field(default=0, ge=0)
    interactive: bool = False
    address: OptionalAddress = ""
