"""A watcher's notices as plain values: printed, logged, and written as JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from coordinator.protocol.amounts import exact_ether
from coordinator.protocol.types import Wei

Verb = Literal[
    "examined",
    "found",
    "unprovable",
    "planned",
    "convicted",
    "asked",
    "demanded",
    "closed",
    "collected",
    "gave up",
    "not sent",
    "unreachable",
]


@dataclass(frozen=True, slots=True)
class Price:
    """The cost and the reward of a transaction before it is sent; amounts in wei.

    ``gas`` is the node's estimate; ``deposit_wei`` is returned unless the coordinator was right;
    ``bounty_wei`` is the bounty of a conviction now.
    """

    gas: int
    gas_wei: Wei
    deposit_wei: Wei
    bounty_wei: Wei

    def __str__(self) -> str:
        """Return the price in ether, the deposit only where there is one."""
        deposit = f" and a deposit of {exact_ether(self.deposit_wei)}" if self.deposit_wei else ""
        return (
            f"costs {self.gas:,} gas ({exact_ether(self.gas_wei)}){deposit}, "
            f"earns {exact_ether(self.bounty_wei)}"
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """One event that a watcher reports. ``round_id`` is 0 if it concerns no round."""

    verb: Verb
    round_id: int
    text: str
    price: Price | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line: the round, the event, and the price of a planned transaction."""
        place = f"round {self.round_id}: " if self.round_id else ""
        price = f"; {self.price}" if self.price is not None else ""
        return f"{place}{self.verb}: {self.text}{price}"

    def as_json(self) -> dict[str, Any]:
        """Return the notice as plain JSON values, wei as text."""
        price = (
            {k: v if k == "gas" else str(v) for k, v in asdict(self.price).items()}
            if (self.price)
            else None
        )
        return {
            "what": self.verb,
            "round": self.round_id,
            "text": self.text,
            "price": price,
            **self.facts,
        }


NoticeHandler = Callable[[Notice], None]
"""Receives every notice as it occurs."""
