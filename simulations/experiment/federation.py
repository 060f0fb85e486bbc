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
    """Read an address that TOML took for a number, as it does without quotes."""
    is_number = isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 1 << 160
    return f"0x{raw:040x}" if is_number else raw


OptionalAddress = Annotated[
    str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$"), BeforeValidator(_hexadecimal)
]
"""0x and 40 hexadecimal digits, or nothing."""


class Cohort(Section):
    """How many contributors a round has; 0 is resolved when the experiment is loaded.

    ``size`` 0 becomes every client; ``min_contributors`` 0 becomes the fewest updates the
    aggregator's fault bound allows. In a ``sealed`` federation contributors commit to their updates
    before anybody uploads one.
    """

    size: int = Field(default=0, ge=0)
    min_contributors: int = Field(default=0, ge=0)
    sealed: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``sealed`` out where it is false: so experiments keep the digest they had."""
        found: dict[str, Any] = fields(self)
        return found if self.sealed else {k: v for k, v in found.items() if k != "sealed"}


class Chain(Section):
    """Windows of the contract and the clock of the simulated chain, in chain seconds.

    ``answer_s`` is how long a coordinator has to answer a question of a dispute; 0 is resolved at
    load to ten minutes, or a fifth of ``unbonding_s`` where that is less.
    """

    chain_id: int = Field(default=1337, ge=1, lt=2**53)
    challenge_window_s: Seconds = 60
    round_deadline_s: Annotated[Seconds, Field(ge=1)] = 3_600
    min_open_s: Seconds = 0
    unbonding_s: Seconds = 7_200
    answer_s: Seconds = 0
    block_time_s: Annotated[Seconds, Field(ge=1)] = 1


class Watcher(Section):
    """Whether the simulation runs a watcher that checks every round and challenges fraud.

    ``lag_rounds`` is how many newer rounds are sealed before it looks at one: fraud is then proven
    under rounds that already stand on it. ``interactive`` makes it ask for columns even where one
    transaction would do. ``address`` is funded at genesis for a watcher in another process.
    """

    enabled: bool = False
    lag_rounds: int = Field(default=0, ge=0)
    interactive: bool = False
    address: OptionalAddress = ""
