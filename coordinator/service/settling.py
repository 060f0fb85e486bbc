"""Scores sealed rounds, and finds the next ones to settle and to finalise."""

from collections.abc import Callable, Mapping

from coordinator.ports import ArtifactStore, Ledger, Scorer
from coordinator.protocol.commitments.documents import name_of, rewards_document, scores_document
from coordinator.protocol.round.chain_round import ChainRound, Settlement
from coordinator.protocol.round.incentives import accumulate, score_leaves_of, split_budget
from coordinator.protocol.types import Address, RoundId, RoundInput, ScoredRound, Wei
from coordinator.service.archive import RoundArchive
from coordinator.service.plan import FederationPlan

Draft = Callable[[ChainRound, ScoredRound], ScoredRound]
Earned = Callable[[RoundId], Mapping[Address, Wei]]


class Settler:
    """Computes settlements; finds rounds that a crash left unsettled or not final.

    Parameters
    ----------
    drafted
        Returns the scores and rewards to settle, given the computed ones.
    earned_before
        Returns the cumulative rewards in wei after a round, by address.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ArtifactStore,
        scorer: Scorer,
        plan: FederationPlan,
        archive: RoundArchive,
        *,
        drafted: Draft,
        earned_before: Earned,
    ) -> None:
        self._ledger, self._store, self._scorer = ledger, store, scorer
        self._plan, self._archive = plan, archive
        self._drafted, self._earned_before = drafted, earned_before

    def pending(self) -> list[ChainRound]:
        """Return the sealed rounds that are not settled, lowest round first."""
        head = self._ledger.head()
        pending = []
        cursor = head.last_sealed
        while cursor > head.last_settled:
            pending.append(self._ledger.round(cursor))
            cursor = pending[-1].parent
        return pending[::-1]

    def score(self, chain_round: ChainRound, result: RoundInput) -> Settlement:
        """Score a sealed round; return its settlement, whose documents are durable."""
        scored = self._drafted(chain_round, self._scored(chain_round, result))
        scores = scores_document(scored.scores)
        rewards = rewards_document(scored.rewards)
        self._store.put_document("scores", name_of("scores", scores), scores)
        self._store.put_document("rewards", name_of("rewards", rewards), rewards)
        self._store.sync()
        return Settlement(
            scores_root=name_of("scores", scores),
            total_score=sum(leaf.score for leaf in scored.scores),
            rewards_root=name_of("rewards", rewards),
            paid_wei=scored.paid_wei,
        )

    def _scored(self, chain_round: ChainRound, result: RoundInput) -> ScoredRound:
        seed = self._ledger.seal_seed(chain_round.round_id)
        previous = None
        if self._scorer.needs_previous_round:
            previous = self._archive.previous_round(chain_round.parent)
        scores = self._scorer.score(result, self._plan.rule, seed, previous)
        leaves = score_leaves_of(chain_round.round_id, result.entries, scores)
        split = split_budget(
            chain_round.budget_wei, {leaf.contributor: leaf.score for leaf in leaves}
        )
        members = self._ledger.members(chain_round.member_count)
        rewards = accumulate(self._earned_before(chain_round.parent), members, split.shares)
        return ScoredRound(leaves, rewards, split.paid_wei)

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""
        head = self._ledger.head()
        if head.last_settled <= head.last_final:
            return None
        final = self._ledger.round(head.last_final).height if head.last_final else 0
        return self._ledger.round(self._ledger.round_at_height(final + 1))
