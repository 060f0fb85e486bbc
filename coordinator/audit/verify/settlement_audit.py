"""Audits a settled round: scores, payment and cumulative rewards, computed again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.audit.verify.findings import Findings
from coordinator.ports import ArtifactStore, Ledger, Scorer
from coordinator.protocol.commitments.digests import rewards_tree, scores_tree
from coordinator.protocol.commitments.documents import reward_leaves
from coordinator.protocol.commitments.documents import score_leaves as read_score_leaves
from coordinator.protocol.errors import FedproofError, StoreError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.round.incentives import accumulate, score_leaves_of, split_budget
from coordinator.protocol.types import Address, Int32Vector, PreviousRound, RoundInput, Rule, Wei

ScorerFor = Callable[[Rule], Scorer]


@dataclass(slots=True)
class Carried:
    """State of one round that its child rounds need; each part is ``None`` if unknown."""

    velocity: Int32Vector | None
    round: PreviousRound
    cumulative: Mapping[Address, Wei] | None


class SettlementAuditor:
    """Re-scores rounds; see :class:`~coordinator.audit.verify.round_audit.RoundAuditor`."""

    def __init__(
        self, ledger: Ledger, store: ArtifactStore, scorer_for: ScorerFor, findings: Findings
    ) -> None:
        self._ledger, self._store = ledger, store
        self._scorer_for = scorer_for
        self._findings = findings

    def check(
        self, chain_round: ChainRound, rule: Rule, result: RoundInput, below: Carried | None
    ) -> Mapping[Address, Wei] | None:
        """Re-score, re-split, re-accumulate; return the cumulative rewards after the round."""
        try:
            scorer = self._scorer_for(rule)
        except FedproofError as error:
            self._findings.refused(
                int(chain_round.round_id),
                f"scoring {rule.scoring_hash.hex()}",
                "the announced scoring must be in the store",
                error,
            )
            return None
        if scorer.needs_previous_round and chain_round.parent and below is None:
            return self.cumulative(chain_round)  # the parent is broken and has its own fault
        seed = self._ledger.seal_seed(chain_round.round_id)
        previous = below.round if below and scorer.needs_previous_round else None
        scores = scorer.score(result, rule, seed, previous)
        leaves = score_leaves_of(chain_round.round_id, result.entries, scores)
        self._check_scores(chain_round, scores_tree(leaves).root, sum(scores))
        shares = split_budget(chain_round.budget_wei, {x.contributor: x.score for x in leaves})
        if shares.paid_wei != chain_round.paid_wei:
            self._fault(
                chain_round,
                "paid_wei",
                "payment must be the floored shares of the budget",
                f"found {chain_round.paid_wei}, expected {shares.paid_wei}",
            )
        cumulative = {} if not chain_round.parent else (below.cumulative if below else None)
        if cumulative is None:
            return self.cumulative(chain_round)
        members = self._ledger.members(chain_round.member_count)
        rewards = accumulate(cumulative, members, shares.shares)
        root = rewards_tree(rewards).root
        if root != chain_round.rewards_root:
            self._fault(
                chain_round,
                f"rewards {chain_round.rewards_root.hex()}",
                "rewards must follow from scores and budget",
                f"expected root {root.hex()}",
            )
        return self.cumulative(chain_round)

    def _check_scores(self, chain_round: ChainRound, root: bytes, total: int) -> None:
        artifact = f"scores {chain_round.scores_root.hex()}"
        try:
            read_score_leaves(self._store.get_document("scores", chain_round.scores_root))
        except StoreError as error:
            self._refused(chain_round, artifact, "scores must hash to the committed root", error)
        if (root, total) != (chain_round.scores_root, chain_round.total_score):
            self._fault(
                chain_round,
                artifact,
                "scores must be what the scoring rule gives",
                f"expected root {root.hex()} and total {total}, "
                f"found total {chain_round.total_score}",
            )

    def cumulative(self, chain_round: ChainRound) -> Mapping[Address, Wei] | None:
        """Return the cumulative rewards of the stored document, ``None`` if it cannot be read."""
        artifact = f"rewards {chain_round.rewards_root.hex()}"
        try:
            leaves = reward_leaves(self._store.get_document("rewards", chain_round.rewards_root))
        except StoreError as error:
            self._refused(chain_round, artifact, "rewards must hash to the committed root", error)
            return None
        return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}

    def _fault(self, chain_round: ChainRound, artifact: str, rule: str, detail: str) -> None:
        self._findings.fault(int(chain_round.round_id), artifact, rule, detail)

    def _refused(
        self, chain_round: ChainRound, artifact: str, rule: str, error: FedproofError
    ) -> None:
        self._findings.refused(int(chain_round.round_id), artifact, rule, error)
