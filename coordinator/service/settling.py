"""Settles and finalises sealed rounds: scores, cumulative rewards, the end of the window."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.ports import ArtifactStore, Ledger, Scorer
from coordinator.protocol.commitments.documents import name_of, rewards_document, scores_document
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus, Settlement
from coordinator.protocol.round.incentives import accumulate, split_budget
from coordinator.protocol.round.result import RoundInput, score_leaves_of
from coordinator.protocol.types import Address, RewardLeaf, RoundId, ScoreLeaf, Wei
from coordinator.service.archive import RoundArchive
from coordinator.service.plan import FederationPlan


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """A round's scores by address, everyone's rewards by joining, and what the round pays."""

    scores: list[ScoreLeaf]
    rewards: list[RewardLeaf]
    paid_wei: Wei


Draft = Callable[[ChainRound, ScoredRound], ScoredRound]
Earned = Callable[[RoundId], Mapping[Address, Wei]]


class Settler:
    """Settles rounds in order of height, whatever a crash left behind.

    Parameters
    ----------
    drafted
        Returns what is to be settled, given what was computed.
    earned_before
        Returns what everyone had earned once a round was settled.
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

    def settle_pending(self) -> None:
        """Settle what was sealed but not settled, lowest round first."""
        head = self._ledger.head()
        pending = []
        cursor = head.last_sealed
        while cursor > head.last_settled:
            pending.append(self._ledger.round(cursor))
            cursor = pending[-1].parent
        for chain_round in reversed(pending):
            if not self.settle(chain_round, self._archive.result(chain_round)):
                return  # a fraud was proven meanwhile: what stood above is void too

    def settle(self, chain_round: ChainRound, result: RoundInput) -> bool:
        """Score a sealed round and commit scores and rewards; false if it has become void."""
        scored = self._drafted(chain_round, self._scored(chain_round, result))
        scores = scores_document(scored.scores)
        rewards = rewards_document(scored.rewards)
        self._store.put_document("scores", name_of("scores", scores), scores)
        self._store.put_document("rewards", name_of("rewards", rewards), rewards)
        self._store.sync()
        settlement = Settlement(
            scores_root=name_of("scores", scores),
            total_score=sum(leaf.score for leaf in scored.scores),
            rewards_root=name_of("rewards", rewards),
            paid_wei=scored.paid_wei,
        )
        try:
            self._ledger.settle_round(chain_round.round_id, settlement)
        except TransactionRevertedError:
            if self._ledger.round(chain_round.round_id).status is RoundStatus.VOID:
                return False
            raise
        return True

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

    def finalize_ready(self, on_final: Callable[[RoundId], None]) -> None:
        """Finalise, in order, every settled round whose window has passed; tell of each."""
        while (candidate := self.next_to_finalize()) is not None:
            if not candidate.can_be_final(self._ledger.now()):
                return
            try:
                self._ledger.finalize_round(candidate.round_id)
            except TransactionRevertedError:
                # Convicted at the last second, or held for a dispute: then it is not our turn.
                now = self._ledger.round(candidate.round_id)
                if now.status is RoundStatus.VOID or now.finalizable_at != candidate.finalizable_at:
                    continue
                raise
            on_final(candidate.round_id)

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""
        head = self._ledger.head()
        if head.last_settled <= head.last_final:
            return None
        final = self._ledger.round(head.last_final).height if head.last_final else 0
        return self._ledger.round(self._ledger.round_at_height(final + 1))
