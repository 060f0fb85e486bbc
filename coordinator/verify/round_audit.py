"""Replays one committed round from ledger and store, and names whatever does not follow.

Uses the same pure functions as the coordinator (``core.round_result``), so there is a single
definition of a right result. Checks go from what the chain holds towards the blobs: existence
and digest of each blob first, then signatures and bonds, weights and totals, the aggregate, the
scores and the rewards. After a fault, what depends on the broken part is skipped, and the rest
is still checked.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from coordinator.core.commitment import rewards_tree, scores_tree
from coordinator.core.documents import (
    ContributorEntry,
    contributor_entries,
    reward_leaves,
    rule_from,
)
from coordinator.core.documents import score_leaves as read_score_leaves
from coordinator.core.errors import (
    AggregationError,
    ContributorError,
    FedproofError,
    StoreError,
    VerificationError,
)
from coordinator.core.incentives import accumulate, split_budget
from coordinator.core.manifest import Manifest
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.round_result import (
    PreviousRound,
    RoundInput,
    apply_rule,
    contributors_root,
    expected_weights,
    score_leaves_of,
    totals,
)
from coordinator.core.rules import check_manifest, validate_rule
from coordinator.core.screening import squared_norm
from coordinator.core.signing import verify_signature
from coordinator.core.types import Address, Int32Vector, RoundId, Rule, Wei, address_bytes
from coordinator.ports import ArtifactStore, ChainRound, Ledger, Scorer
from coordinator.verify.findings import Findings, RoundFinding
from coordinator.verify.sealed_audit import broken_commitments

SEALED_STATUSES = ("sealed", "settled", "final")

ScorerFor = Callable[[Rule], Scorer]


@dataclass(slots=True)
class Carried:
    """What one round hands to those stacked on it: momentum and updates, ``None`` if unknown."""

    velocity: Int32Vector | None
    round: PreviousRound
    cumulative: Mapping[Address, Wei] | None


class RoundAuditor:
    """Audits rounds one after another, in order of number.

    Parameters
    ----------
    ledger, store
        Where the commitments and the artifacts are.
    findings
        Collects lines and faults.
    scorer_for
        Builds the scorer of a rule from the store.
    pool
        Runs the reading and hashing of updates in parallel.
    sealed
        Whether the federation agreed that contributors commit before they upload.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ArtifactStore,
        findings: Findings,
        scorer_for: ScorerFor,
        pool: Executor,
        *,
        sealed: bool = False,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._findings = findings
        self._scorer_for = scorer_for
        self._pool = pool
        self._sealed = sealed
        self._carried: dict[RoundId, Carried] = {}

    def audit(self, round_id: RoundId) -> RoundFinding:
        """Replay one round and append its line to the findings."""
        found = self._ledger.round(round_id)
        line = RoundFinding(int(round_id), found.status)
        self._findings.rounds.append(line)
        before = len(self._findings.faults)
        if found.status in SEALED_STATUSES:
            line.model_root = found.new_model_root.hex()
            line.contributors = found.n
            line.total_stake_wei = found.total_stake_wei
            line.paid_wei = found.paid_wei
            self._audit_sealed(found)
        if found.status == "void":
            # Nothing stands on a void round and nobody is paid for it: its reason is all there is.
            line.reason = self._ledger.void_reason(round_id)
        line.ok = len(self._findings.faults) == before
        return line

    # --- a sealed round ----------------------------------------------------------------------

    def _audit_sealed(self, found: ChainRound) -> None:
        read = self._read_rule(found)
        if read is None:
            return
        rule, manifest = read
        entries = self._entries(found)
        base = self._vector(found, found.model_root, manifest, "base model")
        new_model = self._vector(found, found.new_model_root, manifest, "new model")
        if entries is None:
            return
        self._check_leaves(found, entries, rule)
        domain = self._ledger.domain()
        for broken in broken_commitments(found, entries, domain, self._store, agreed=self._sealed):
            self._fault(found, *broken)
        updates = self._updates(found, entries, manifest, rule)
        if base is None or updates is None:
            return
        below = self._carried.get(found.parent)
        if rule.server_momentum_q16 and found.parent and below is None:
            return  # momentum is unknown since the round below is broken: its own fault says so
        velocity = below.velocity if below else None
        model, new_velocity = self._reaggregate(
            found, rule, manifest, entries, updates, base, velocity
        )
        cumulative = None
        if found.status != "sealed" and new_model is not None and model is not None:
            result = RoundInput(entries, updates, base, model, found.new_model_root, velocity)
            try:
                cumulative = self._check_settlement(found, rule, result, below)
            except (AggregationError, VerificationError) as error:
                # A contributor twice, or rewards of somebody who is no member.
                rule_text = "scores and rewards must follow from contributors and members"
                self._fault(found, f"rewards {found.rewards_root.hex()}", rule_text, str(error))
                cumulative = self._cumulative(found)
        named = [(e.leaf.contributor, u) for e, u in zip(entries, updates, strict=True)]
        done = PreviousRound(named, base)
        self._carried[found.round_id] = Carried(new_velocity, done, cumulative)
        for old in [r for r in self._carried if r not in (found.round_id, found.parent)]:
            del self._carried[old]

    def _fault(self, found: ChainRound, artifact: str, rule: str, detail: str) -> None:
        self._findings.fault(int(found.round_id), artifact, rule, detail)

    def _read_rule(self, found: ChainRound) -> tuple[Rule, Manifest] | None:
        name = f"rule {found.rule_hash.hex()}"
        try:
            rule = rule_from(self._store.get_document("rule", found.rule_hash))
            validate_rule(rule)
            name = f"manifest {rule.manifest_hash.hex()}"
            manifest = Manifest.from_json(self._store.get_bytes(rule.manifest_hash))
            check_manifest(rule, manifest)
        except FedproofError as error:
            self._fault(found, name, "the announced rule must be in the store", str(error))
            return None
        return rule, manifest

    def _entries(self, found: ChainRound) -> list[ContributorEntry] | None:
        name = f"contributors {found.contributors_root.hex()}"
        try:
            document = self._store.get_document("contributors", found.contributors_root)
            return contributor_entries(document)
        except StoreError as error:
            self._fault(found, name, "contributors must hash to the committed root", str(error))
            return None

    def _vector(
        self, found: ChainRound, root: bytes, manifest: Manifest, what: str
    ) -> Int32Vector | None:
        try:
            return self._store.get_vector(root, manifest)
        except StoreError as error:
            rule = "vector must hash to the committed root"
            self._fault(found, f"{what} {root.hex()}", rule, str(error))
            return None

    def _updates(
        self,
        found: ChainRound,
        entries: Sequence[ContributorEntry],
        manifest: Manifest,
        rule: Rule,
    ) -> list[Int32Vector] | None:
        """Read and re-hash every update; ``None`` if one is missing or corrupt."""

        def read(entry: ContributorEntry) -> Int32Vector | StoreError | None:
            try:
                vector = self._store.get_vector(entry.leaf.update_root, manifest)
            except StoreError as error:
                return error
            bound = rule.norm_bound_q
            return vector if not bound or squared_norm(vector) <= bound * bound else None

        updates = []
        for entry, result in zip(entries, self._pool.map(read, entries), strict=True):
            name = f"update {entry.leaf.update_root.hex()} of {entry.leaf.contributor}"
            if isinstance(result, StoreError):
                self._fault(found, name, "update must hash to its committed root", str(result))
            elif result is None:
                bound = f"L2 norm above {rule.norm_bound_q}"
                self._fault(found, name, "update must obey the norm bound", bound)
            else:
                updates.append(result)
        return updates if len(updates) == len(entries) else None

    # --- leaves --------------------------------------------------------------------------------

    def _check_leaves(
        self, found: ChainRound, entries: Sequence[ContributorEntry], rule: Rule
    ) -> None:
        artifact = f"contributors {found.contributors_root.hex()}"
        if entries[0].leaf.round_id != found.round_id:
            self._fault(
                found,
                artifact,
                "leaves must be those of this round",
                f"leaves say round {entries[0].leaf.round_id}",
            )
        try:
            contributors_root(entries)
        except VerificationError as error:
            rule_text = "leaves must be in order of address, once each, their indices 0 to n - 1"
            self._fault(found, artifact, rule_text, str(error))
        if len(entries) != found.n:
            self._fault(
                found, artifact, "n must count every leaf", f"{len(entries)} leaves, n = {found.n}"
            )
        self._check_weights(found, entries, rule)
        examples, stake = totals(entries, rule)
        if (examples, stake) != (found.total_examples, found.total_stake_wei):
            self._fault(
                found,
                artifact,
                "totals must be the sums over the leaves",
                f"found ({found.total_examples}, {found.total_stake_wei}), "
                f"expected ({examples}, {stake})",
            )
        stakes = self._ledger.stakes_at(found.round_id)
        for entry in entries:
            self._check_leaf(found, entry, stakes)

    def _check_weights(
        self, found: ChainRound, entries: Sequence[ContributorEntry], rule: Rule
    ) -> None:
        artifact = f"contributors {found.contributors_root.hex()}"
        rule_text = "weights must apportion the capped example counts"
        try:
            weights = expected_weights(entries, rule)
        except AggregationError as error:  # no shares at all, or one contributor twice
            self._fault(found, artifact, rule_text, str(error))
            return
        given = [entry.leaf.weight for entry in entries]
        if given != weights:
            self._fault(found, artifact, rule_text, f"found {given}, expected {weights}")

    def _check_leaf(
        self, found: ChainRound, entry: ContributorEntry, stakes: Mapping[Address, Wei]
    ) -> None:
        leaf = entry.leaf
        artifact = f"leaf {leaf.index} of {leaf.contributor}"
        bond = stakes.get(leaf.contributor, Wei(0))
        if leaf.stake_wei != bond or bond == 0:
            self._fault(
                found,
                artifact,
                "stake must be the bond when the round opened",
                f"found {leaf.stake_wei}, expected {bond}",
            )
        try:
            verify_signature(self._ledger.domain(), entry.signed_update(found.model_root))
        except ContributorError as error:
            self._fault(found, artifact, "update must be signed by its contributor", str(error))

    # --- the result ----------------------------------------------------------------------------

    def _reaggregate(
        self,
        found: ChainRound,
        rule: Rule,
        manifest: Manifest,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
        base: Int32Vector,
        velocity: Int32Vector | None,
    ) -> tuple[Int32Vector | None, Int32Vector | None]:
        artifact = f"new model {found.new_model_root.hex()}"
        try:
            weights = [entry.leaf.weight for entry in entries]
            applied = apply_rule(rule, base, updates, weights, velocity)
        except FedproofError as error:
            self._fault(found, artifact, "the announced rule must apply", str(error))
            return None, None
        root = parameter_root(applied.model, manifest)
        if root != found.new_model_root:
            self._fault(
                found,
                artifact,
                "new model must be what the rule gives",
                f"the rule gives {root.hex()}",
            )
            return None, applied.velocity
        return applied.model, applied.velocity

    def _check_settlement(
        self, found: ChainRound, rule: Rule, result: RoundInput, below: Carried | None
    ) -> Mapping[Address, Wei] | None:
        """Re-score, re-split, re-accumulate; return the cumulative rewards after the round."""
        try:
            scorer = self._scorer_for(rule)
        except FedproofError as error:
            self._fault(
                found,
                f"scoring {rule.scoring_hash.hex()}",
                "the announced scoring must be in the store",
                str(error),
            )
            return None
        if scorer.needs_previous_round and found.parent and below is None:
            return self._cumulative(found)  # the round below is broken: its own fault says so
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
            return self._cumulative(found)
        members = sorted(self._ledger.members(found.member_count), key=address_bytes)
        rewards = accumulate(cumulative, members, shares.shares)
        root = rewards_tree(rewards).root
        if root != found.rewards_root:
            self._fault(
                found,
                f"rewards {found.rewards_root.hex()}",
                "rewards must follow from scores and budget",
                f"expected root {root.hex()}",
            )
        return self._cumulative(found)

    def _check_scores(self, found: ChainRound, root: bytes, total: int) -> None:
        artifact = f"scores {found.scores_root.hex()}"
        try:
            read_score_leaves(self._store.get_document("scores", found.scores_root))
        except StoreError as error:
            self._fault(found, artifact, "scores must hash to the committed root", str(error))
        if (root, total) != (found.scores_root, found.total_score):
            self._fault(
                found,
                artifact,
                "scores must be what the scoring rule gives",
                f"expected root {root.hex()} and total {total}, found total {found.total_score}",
            )

    def _cumulative(self, found: ChainRound) -> Mapping[Address, Wei] | None:
        artifact = f"rewards {found.rewards_root.hex()}"
        try:
            leaves = reward_leaves(self._store.get_document("rewards", found.rewards_root))
        except StoreError as error:
            self._fault(found, artifact, "rewards must hash to the committed root", str(error))
            return None
        return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}
