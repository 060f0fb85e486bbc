"""The chain as the owner of a simulation's pool reads it, for its workers to ask."""

from clients.mod.chain_view import RoundFacts
from coordinator.ports import Ledger
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

    def round(self, round_id: RoundId) -> RoundFacts:
        """Return what the ledger stores of a round now."""
        found = self._ledger.round(round_id)
        return RoundFacts(
            status=found.status,
            model_root=found.model_root,
            rule_hash=found.rule_hash,
            deadline=found.deadline,
            new_model_root=found.new_model_root,
            commitments_root=found.commitments_root,
        )
