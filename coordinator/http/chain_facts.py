"""The federation's state on chain, read once per block for all requests."""

import threading
from dataclasses import dataclass

from contracts.binding.reader import FederationReader
from contracts.binding.records import BlockInfo, HeadState
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """The state at one block. ``bonds`` are all above zero, in wei; ``rounds`` counts by status."""

    block: BlockInfo
    head: HeadState
    bonds: dict[Address, Wei]
    rounds: dict[str, int]
    coordinator_bond_wei: Wei


class ChainFactsCache:
    """Reads :class:`ChainFacts`, once per block; thread-safe."""

    def __init__(self, federation: FederationReader) -> None:
        self._federation = federation
        self._lock = threading.Lock()
        self._facts: ChainFacts | None = None

    def look(self) -> ChainFacts:
        """Return the facts as of the latest block.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """
        block = self._federation.block()
        with self._lock:
            if self._facts is None or self._facts.block.hash != block.hash:
                self._facts = self._read(block)
            return self._facts

    def _read(self, block: BlockInfo) -> ChainFacts:
        head = self._federation.head()
        coordinator = self._federation.account(self._federation.terms.coordinator)
        return ChainFacts(
            block=block,
            head=head,
            bonds=self._federation.stakes_at(RoundId(head.last_opened + 1)),
            rounds=self._count_rounds(head),
            coordinator_bond_wei=coordinator.bond_wei,
        )

    def _count_rounds(self, head: HeadState) -> dict[str, int]:
        """Count rounds by status without reading each: settled ones lie below sealed ones."""
        low, high = head.final_height, head.height
        while low < high:
            middle = (low + high + 1) // 2
            if self._status_at(middle) is RoundStatus.SETTLED:
                low = middle
            else:
                high = middle - 1
        is_open = int(head.open_round > 0)
        return {
            "open": is_open,
            "sealed": head.height - low,
            "settled": low - head.final_height,
            "final": head.final_height,
            "void": head.last_opened - head.height - is_open,
        }

    def _status_at(self, height: int) -> RoundStatus:
        return self._federation.status(self._federation.round_at_height(height))
