"""A simulated federation's chain: deployment, bonds, finalisation and claims.

Every step reads the chain first and does only what is missing, in blocks of fixed content, so that
a run that was killed continues to the same block hashes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType

from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding import calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.referee import Referee
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.ledger.deployment import Deployment, deploy_federation
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import rewards_tree
from coordinator.protocol.commitments.documents import reward_leaves
from coordinator.protocol.round.chain_round import Seal
from coordinator.protocol.types import Address, RoundId, Wei
from simulations.experiment.base import SimulatedFederation
from simulations.run.identities import Identities, genesis_of

TRANSACTIONS_PER_BLOCK = 100
"""Number of joins or claims per block: fixed, since block hashes depend on it."""


class WaitingLedger(ChainLedger):
    """The ledger of a simulated coordinator, which advances chain time where it has to wait.

    ``wait_until`` advances chain time to a timestamp in seconds, ``next_time`` returns the next
    block's.
    """

    def __init__(
        self,
        federation: Federation,
        account: LocalAccount,
        wait_until: Callable[[int], None],
        next_time: Callable[[], int],
    ) -> None:
        super().__init__(federation, account, next_time=next_time)
        self._wait_until = wait_until
        self._min_open_s = federation.terms.min_open_s

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Commit a round's result, once it has been open for ``min_open_s``."""
        self._wait_until(self.round(round_id).opened_at + self._min_open_s)
        super().seal_round(round_id, seal)


def advance_time(node: EmbeddedNode, timestamp: int) -> None:
    """Advance chain time to ``timestamp`` with an empty block, if it is earlier."""
    if node.next_timestamp < timestamp:
        node.mine(timestamp=timestamp - 1)


@dataclass(frozen=True)
class SimulatedChain:
    """The embedded node of a run and the federation on it; a context manager."""

    node: EmbeddedNode
    dispatcher: Dispatcher
    federation: Federation
    ledger: ChainLedger
    identities: Identities

    def __enter__(self) -> "SimulatedChain":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def referee(self) -> Referee:
        """The contract that convicts the coordinator."""
        w3 = Web3(EmbeddedProvider(self.dispatcher))
        address = self.federation.head().referee
        return Referee(w3, address, transactor=self.federation.transactor)

    def close(self) -> None:
        """Close the node; the chain is then one file, without a write-ahead log."""
        self.dispatcher.close()
        self.node.close()

    @contextmanager
    def serve(self, port: int) -> Iterator[str]:
        """Serve JSON-RPC on loopback, 0 for any free port; yield the URL."""
        served = Dispatcher(self.node, dev=False)
        try:
            with serve_in_thread(served, port=port) as handle:
                yield handle.url
        finally:
            served.close()

    def wait_until(self, timestamp: int) -> None:
        """Advance chain time to ``timestamp`` with an empty block, if it is earlier."""
        advance_time(self.node, timestamp)

    def fund_rounds(self, rounds: int, round_budget_wei: int) -> None:
        """Add to the pool what it lacks to pay so many more rounds; nothing if it has enough.

        While a round is open nothing is added: it was before that round began.
        """
        head = self.federation.head()
        if head.open_round:
            return
        free_wei = head.pool_wei - head.pledged_wei
        if (lacking := rounds * round_budget_wei - free_wei) <= 0:
            return
        self.send_in_blocks([(self.identities.coordinator, calls.fund(Wei(lacking)))])

    def send_in_blocks(self, batch: Sequence[tuple[LocalAccount, Call]]) -> None:
        """Send calls in order, a fixed number per block."""
        for part in _parts(batch):
            self.federation.send_batch(self.federation.prepare_all(part))


def open_chain(
    experiment: SimulatedFederation,
    identities: Identities,
    path: Path | None,
    initial_model_root: bytes,
) -> SimulatedChain:
    """Open or create the run's chain, with its federation deployed, bonded and funded.

    Parameters
    ----------
    path
        The chain's file; ``None`` keeps the chain in memory.
    initial_model_root
        Root of the first round's base model, 32 bytes.

    Raises
    ------
    ConfigError
        If the file holds the chain of another experiment.
    ChainUnavailableError, StoreError
        If the file cannot be used.
    """
    node = EmbeddedNode.create_or_open(
        path, genesis_of(experiment, identities), block_time_s=experiment.chain.block_time_s
    )
    try:
        dispatcher = Dispatcher(node, dev=True)
        w3 = Web3(EmbeddedProvider(dispatcher))
        deployment = deployment_of(experiment, identities, initial_model_root)
        federation = deploy_federation(w3, identities.coordinator, deployment)
        ledger = WaitingLedger(
            federation,
            identities.coordinator,
            partial(advance_time, node),
            lambda: node.next_timestamp,
        )
        chain = SimulatedChain(node, dispatcher, federation, ledger, identities)
        _join(chain, experiment)
    except BaseException:
        node.close()
        raise
    return chain


def terms_of(
    experiment: SimulatedFederation, identities: Identities, initial_model_root: bytes
) -> Terms:
    """Return the terms of the contract, with the digest of the configuration."""
    stake, chain = experiment.stake, experiment.chain
    return Terms(
        coordinator=Address(identities.coordinator.address),
        initial_model_root=initial_model_root,
        config_digest=experiment.digest,
        min_stake_wei=Wei(stake.minimum_wei),
        min_coordinator_bond_wei=Wei(stake.coordinator_minimum_wei),
        round_budget_wei=Wei(experiment.rewards.round_budget_wei),
        min_contributors=experiment.cohort.min_contributors,
        min_open_s=chain.min_open_s,
        challenge_window_s=chain.challenge_window_s,
        unbonding_period_s=chain.unbonding_s,
        contributor_slash_bps=stake.contributor_slash_bps,
        coordinator_slash_bps=stake.coordinator_slash_bps,
    )


def deployment_of(
    experiment: SimulatedFederation, identities: Identities, initial_model_root: bytes
) -> Deployment:
    """Return the contract's parameters, the coordinator's bond and the pool's funds."""
    return Deployment(
        terms=terms_of(experiment, identities, initial_model_root),
        dispute_deposit_wei=Wei(experiment.stake.dispute_deposit_wei),
        answer_s=experiment.chain.answer_s,
        coordinator_bond_wei=Wei(experiment.stake.coordinator_bond_wei),
        pool_wei=Wei(experiment.rewards.pool_wei),
    )


def _join(chain: SimulatedChain, experiment: SimulatedFederation) -> None:
    """Bond every contributor that has not joined yet, except those that attack without a bond."""
    joining = [
        account
        for client, account in enumerate(chain.identities.contributors)
        if client not in experiment.unbonded
    ]
    joined = chain.federation.head().member_count
    stake = calls.join(Wei(experiment.stake.minimum_wei))
    chain.send_in_blocks([(account, stake) for account in joining[joined:]])


def finalize_all(chain: SimulatedChain) -> None:
    """Finalise the settled rounds, lowest first, each once its challenge window has passed."""
    while True:
        head = chain.ledger.head()
        cursor, lowest = head.last_settled, None
        while cursor > head.last_final:
            lowest = chain.ledger.round(cursor)
            cursor = lowest.parent
        if lowest is None:
            return
        assert lowest.finalizable_at is not None  # it is settled
        chain.wait_until(lowest.finalizable_at)
        chain.ledger.finalize_round(lowest.round_id)


def claim_all(chain: SimulatedChain, store: ArtifactStore) -> None:
    """Claim every contributor's unclaimed rewards, with its own key."""
    final = chain.ledger.head().last_final
    if not final:
        return
    leaves = reward_leaves(store.get_document("rewards", _rewards_root(chain, final)))
    tree = rewards_tree(leaves)
    accounts = {Address(account.address): account for account in chain.identities.contributors}
    batch = []
    for index, leaf in enumerate(leaves):
        claimed = chain.federation.account(leaf.contributor).claimed_wei
        if leaf.cumulative_wei > claimed:
            claim = calls.claim(leaf.cumulative_wei, tree.proof(index))
            batch.append((accounts[leaf.contributor], claim))
    chain.send_in_blocks(batch)


def _rewards_root(chain: SimulatedChain, round_id: RoundId) -> bytes:
    return chain.ledger.round(round_id).rewards_root


def _parts(
    batch: Sequence[tuple[LocalAccount, Call]],
) -> Iterator[Sequence[tuple[LocalAccount, Call]]]:
    for start in range(0, len(batch), TRANSACTIONS_PER_BLOCK):
        yield batch[start : start + TRANSACTIONS_PER_BLOCK]
