"""A contributor's view of the chain through the federation contract, on any node."""

from clients.mod.chain_view import RoundFacts
from clients.mod.chain_view import RoundStatus as StatusName
from contracts.binding.reader import FederationReader
from contracts.binding.records import RoundStatus
from coordinator.protocol.types import RoundId, SigningDomain

_NAMES: dict[RoundStatus, StatusName] = {
    RoundStatus.NONE: "none",
    RoundStatus.OPEN: "open",
    RoundStatus.SEALED: "sealed",
    RoundStatus.SETTLED: "settled",
    RoundStatus.FINAL: "final",
    RoundStatus.VOID: "void",
}


class FederationChainView:
    """A :class:`~clients.mod.chain_view.ChainView` that reads the contract."""

    def __init__(self, federation: FederationReader) -> None:
        self._federation = federation
        self._domain = federation.domain

    @property
    def domain(self) -> SigningDomain:
        """Chain id and address of the contract."""
        return self._domain

    def round(self, round_id: RoundId) -> RoundFacts:
        """Return what the contract stores of a round now."""
        found = self._federation.round(round_id)
        return RoundFacts(
            status=_NAMES[found.status],
            model_root=found.model_root,
            rule_hash=found.rule_hash,
            deadline=found.deadline,
            new_model_root=found.new_model_root,
            commitments_root=found.commitments_root,
        )
