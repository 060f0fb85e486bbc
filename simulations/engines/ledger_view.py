"""The chain view of a simulation's pool, which its workers query."""

from coordinator.ports import Ledger
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId, SigningDomain


class LedgerChainView:
    """A :class:`~clients.mod.chain_view.ChainView` over the ledger port."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._domain = ledger.domain()

    @property
    def domain(self) -> SigningDomain:
        """The ledger's domain."""
        return self._domain

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as the ledger stores it now."""
        return self._ledger.round(round_id)
