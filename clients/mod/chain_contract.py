"""A contributor's view of the chain through the federation contract, on any node."""

from contracts.binding.reader import FederationReader
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId, SigningDomain


class FederationChainView:
    """A :class:`~clients.mod.chain_view.ChainView` that reads the contract."""

    def __init__(self, federation: FederationReader) -> None:
        self._federation = federation
        self._domain = federation.domain

    @property
    def domain(self) -> SigningDomain:
        """Chain id and address of the contract."""
        return self._domain

    def round(self, round_id: RoundId) -> ChainRound:
        """Return what the contract stores of a round now."""
        return self._federation.round(round_id)
