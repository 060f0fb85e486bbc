"""What an account has earned and not taken out, with the proof that a claim needs.

The rewards document comes from whoever serves it; it is believed because its root is the one on
chain.
"""

from dataclasses import dataclass

from contracts.binding.reader import FederationReader
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import rewards_tree
from coordinator.protocol.commitments.documents import reward_leaves
from coordinator.protocol.types import Address, JsonObject, Wei

_NO_ROOT = bytes(32)


@dataclass(frozen=True)
class Earnings:
    """An account's rewards; ``proof`` leads to the last FINAL rewards root.

    ``cumulative_wei`` is all it ever earned in final rounds, ``claimed_wei`` what it took out.
    """

    cumulative_wei: Wei
    claimed_wei: Wei
    proof: tuple[bytes, ...]

    @property
    def owed_wei(self) -> Wei:
        """What a claim would pay now."""
        return Wei(max(0, self.cumulative_wei - self.claimed_wei))


def earnings(federation: FederationReader, store: ArtifactStore, address: Address) -> Earnings:
    """Return what an account may claim now.

    Raises
    ------
    StoreError
        If the rewards document cannot be had, or is not the one on chain.
    ChainUnavailableError
        If the node does not answer.
    """
    root = federation.head().rewards_root
    if root == _NO_ROOT:
        return Earnings(Wei(0), federation.account(address).claimed_wei, ())
    document = store.get_document("rewards", root)
    return earnings_in(document, address, federation.account(address).claimed_wei)


def earnings_in(document: JsonObject, address: Address, claimed_wei: Wei) -> Earnings:
    """Return what a rewards document gives an account; nothing if it is not in it."""
    leaves = reward_leaves(document)
    for index, leaf in enumerate(leaves):
        if leaf.contributor.lower() == address.lower():
            proof = tuple(rewards_tree(leaves).proof(index))
            return Earnings(leaf.cumulative_wei, claimed_wei, proof)
    return Earnings(Wei(0), claimed_wei, ())
