"""A contributor's view of the chain through the federation contract, on any node."""

from pathlib import Path

from contracts.binding.http_provider import web3_at
from contracts.binding.reader import FederationReader
from contracts.binding.rpc import rpc_of
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Address, RoundId, SigningDomain


class FederationChainView:
    """A :class:`~clients.mod.chain_view.ChainView` that reads the contract."""

    def __init__(self, federation: FederationReader) -> None:
        self._federation = federation
        self._domain = federation.domain

    @classmethod
    def at(cls, url: str, contract: str, *, ca_file: Path | None = None) -> "FederationChainView":
        """Return the view through a node's JSON-RPC address.

        Parameters
        ----------
        url
            URL of the participant's own node, or of one that it trusts.
        contract
            Address of the federation that it joined.
        ca_file
            Certificates (PEM) of the only authorities to trust.

        Raises
        ------
        ConfigError
            If the URL or the file cannot be used.
        LedgerError
            If the node does not answer, or there is no federation at the address.
        """
        rpc = rpc_of(web3_at(url, ca_file=ca_file))
        return cls(FederationReader(rpc, Address(contract)))

    @property
    def domain(self) -> SigningDomain:
        """Chain id and address of the contract."""
        return self._domain

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as the contract stores it now."""
        return self._federation.round(round_id)
