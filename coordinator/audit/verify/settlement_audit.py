"""Audits a settled round: scores, payment and cumulative rewards, worked out again."""

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
    """What one round hands to those stacked on it: momentum and updates, ``None`` if unknown."""

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
        self, found: ChainRound, rule: Rule, result: RoundInput, below: Carried | None
    ) -> Mapping[Address, Wei] | None:
        """Re-score, re-split, re-accumulate; return the cumulative rewards after the round."""
        try:
            scorer = self._scorer_for(rule)
        except FedproofError as error:
            self._findings.refused(
                int(found.round_id),
                f"scoring {rule.scoring_hash.hex()}",
                "the announced scoring must be in the store",
                error,
            )
            return None
        if scorer.needs_previous_round and found.parent and below is None:
            return self.cumulative(found)  # the round below is broken: its own fault says so
        seed = self._ledger.seal_seed(found.round_id)
        previous = below.round if below and scorer.needs_previous_round else None
        scores = scorer.score(result, rule, seed, previous)
        leaves = score_leaves_of(found.round_id, result.entries, scores)
        self._check_scores(found, scores_tree(leaves).root, sum(scores))
        shares = split_budget(found.budget_wei, {x.contributor: x.score for x in leaves})
        if shares.paid_wei != found.paid_wei:
            self._fault(
                found,
                "paid_wei",
                "payment must be the floored shares of the budget",
                f"found {found.paid_wei}, expected {shares.paid_wei}",
            )
        cumulative = {} if not found.parent else (below.cumulative if below else None)
        if cumulative is None:
            return self.cumulative(found)
        members = self._ledger.members(found.member_count)
        rewards = accumulate(cumulative, members, shares.shares)
        root = rewards_tree(rewards).root
        if root != found.rewards_root:
            self._fault(
                found,
                f"rewards {found.rewards_root.hex()}",
                "rewards must follow from scores and budget",
                f"expected root {root.hex()}",
            )
        return self.cumulative(found)

    def _check_scores(self, found: ChainRound, root: bytes, total: int) -> None:
        artifact = f"scores {found.scores_root.hex()}"
        try:
            read_score_leaves(self._store.get_document("scores", found.scores_root))
        except StoreError as error:
            self._refused(found, artifact, "scores must hash to the committed root", error)
        if (root, total) != (found.scores_root, found.total_score):
            self._fault(
                found,
                artifact,
                "scores must be what the scoring rule gives",
                f"expected root {root.hex()} and total {total}, found total {found.total_score}",
            )

    def cumulative(self, found: ChainRound) -> Mapping[Address, Wei] | None:
        """Return what the stored document says everyone had earned, ``None`` if it is not there."""
        artifact = f"rewards {found.rewards_root.hex()}"
        try:
            leaves = reward_leaves(self._store.get_document("rewards", found.rewards_root))
        except StoreError as error:
            self._refused(found, artifact, "rewards must hash to the committed root", error)
            return None
        return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}

    def _fault(self, found: ChainRound, artifact: str, rule: str, detail: str) -> None:
        self._findings.fault(int(found.round_id), artifact, rule, detail)

    def _refused(self, found: ChainRound, artifact: str, rule: str, error: FedproofError) -> None:
        self._findings.refused(int(found.round_id), artifact, rule, error)
