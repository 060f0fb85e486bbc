"""An account's unclaimed rewards, with the proof for a claim.

The store that serves the rewards document is not trusted: the document's root must be the one on
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
    """An account's rewards; ``proof`` leads to the rewards root of the last final round.

    ``cumulative_wei`` is all that it earned in final rounds, ``claimed_wei`` all that it claimed.
    """

    cumulative_wei: Wei
    claimed_wei: Wei
    proof: tuple[bytes, ...]

    @property
    def owed_wei(self) -> Wei:
        """The amount that a claim would pay now, in wei."""
        return Wei(max(0, self.cumulative_wei - self.claimed_wei))


def earnings(federation: FederationReader, store: ArtifactStore, address: Address) -> Earnings:
    """Return an account's earnings up to the last final round.

    Raises
    ------
    StoreError
        If the rewards document cannot be read, or is not the one on chain.
    ChainUnavailableError
        If the node does not answer.
    """
    root = federation.head().rewards_root
    if root == _NO_ROOT:
        return Earnings(Wei(0), federation.account(address).claimed_wei, ())
    document = store.get_document("rewards", root)
    return earnings_in(document, address, federation.account(address).claimed_wei)


def earnings_in(document: JsonObject, address: Address, claimed_wei: Wei) -> Earnings:
    """Return an account's earnings by a rewards document, zero if it is not in it."""
    leaves = reward_leaves(document)
    for index, leaf in enumerate(leaves):
        if leaf.contributor.lower() == address.lower():
            proof = tuple(rewards_tree(leaves).proof(index))
            return Earnings(leaf.cumulative_wei, claimed_wei, proof)
    return Earnings(Wei(0), claimed_wei, ())
