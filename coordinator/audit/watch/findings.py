"""What a watcher finds and does, as plain values: printed, logged, and given as JSON."""

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
    """What a move costs and earns its sender, before it is sent; amounts in wei.

    ``gas`` is the node's estimate; ``deposit_wei`` comes back unless the coordinator was right;
    ``bounty_wei`` is what a conviction now would earn.
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
    """One thing a watcher has to say. ``round_id`` is 0 where it is about no round."""

    verb: Verb
    round_id: int
    text: str
    price: Price | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line: the round, what was done or found, and the price of what is planned."""
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


Tell = Callable[[Notice], None]
"""Hears every notice as it comes."""
