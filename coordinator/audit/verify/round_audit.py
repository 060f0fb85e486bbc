"""Replays one committed round from ledger and store, and reports each value that does not follow.

Uses the same pure functions as the coordinator (``protocol.round``), so there is a single
definition of a right result. Checks go from the chain towards the blobs: existence and digest of
each blob first, then signatures and bonds, weights and totals, the aggregate, the scores and the
rewards. After a fault, checks that depend on the broken part are skipped, the others still run.
"""

import contextlib
from collections.abc import Sequence
from concurrent.futures import Executor

from coordinator.audit.verify.findings import Findings, RoundFinding
from coordinator.audit.verify.leaf_audit import broken_leaves
from coordinator.audit.verify.sealed_audit import broken_commitments
from coordinator.audit.verify.settlement_audit import Carried, ScorerFor, SettlementAuditor
from coordinator.ports import ArtifactStore, Ledger
from coordinator.protocol.commitments.documents import contributor_entries, rule_from
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import (
    AggregationError,
    FedproofError,
    StoreError,
    UnknownRuleError,
    VerificationError,
)
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.numbers.norms import squared_norm
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.result import apply_rule
from coordinator.protocol.rules.chosen import chosen
from coordinator.protocol.rules.rule import check_manifest, validate_rule
from coordinator.protocol.types import (
    ContributorEntry,
    Int32Vector,
    PreviousRound,
    RoundId,
    RoundInput,
    Rule,
)


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
        self._settlements = SettlementAuditor(ledger, store, scorer_for, findings)
        self._pool = pool
        self._sealed = sealed
        self._carried: dict[RoundId, Carried] = {}
        self.momenta: dict[RoundId, bytes | None] = {}
        """By round, the root of the server momentum after it; ``None`` where the rule has none."""

    def audit(self, round_id: RoundId) -> RoundFinding:
        """Replay one round and append its line to the findings."""
        chain_round = self._ledger.round(round_id)
        line = RoundFinding(int(round_id), chain_round.status.word)
        self._findings.rounds.append(line)
        before = len(self._findings.faults) + len(self._findings.unread)
        if chain_round.status.has_result:
            line.model_root = chain_round.new_model_root.hex()
            line.contributors = chain_round.n
            line.total_stake_wei = chain_round.total_stake_wei
            line.paid_wei = chain_round.paid_wei
            self._audit_sealed(chain_round)
        if chain_round.status is RoundStatus.VOID:
            # No round builds on a void one and nobody is paid for it, so only its reason is shown.
            line.reason = self._ledger.void_reason(round_id)
        line.ok = len(self._findings.faults) + len(self._findings.unread) == before
        return line

    # --- a sealed round ----------------------------------------------------------------------

    def _audit_sealed(self, chain_round: ChainRound) -> None:
        read = self._read_rule(chain_round)
        if read is None:
            return
        rule, manifest = read
        entries = self._entries(chain_round)
        base = self._vector(chain_round, chain_round.model_root, manifest, "base model")
        new_model = self._vector(chain_round, chain_round.new_model_root, manifest, "new model")
        if entries is None:
            return
        self._check_entries(chain_round, entries, rule)
        updates = self._updates(chain_round, entries, manifest, rule)
        if base is None or updates is None or not self._is_loaded(chain_round, rule):
            return
        below = self._carried.get(chain_round.parent)
        if rule.server_momentum_q16 and chain_round.parent and below is None:
            return  # the momentum is unknown: the parent round is broken and has its own fault
        velocity = below.velocity if below else None
        model, new_velocity = self._reaggregate(
            chain_round, rule, manifest, entries, updates, base, velocity
        )
        if model is not None:
            self.momenta[chain_round.round_id] = (
                None if new_velocity is None else parameter_root(new_velocity, manifest)
            )
        cumulative = None
        if (
            chain_round.status is not RoundStatus.SEALED
            and new_model is not None
            and model is not None
        ):
            result = RoundInput(entries, updates, base, model, chain_round.new_model_root, velocity)
            try:
                cumulative = self._settlements.check(chain_round, rule, result, below)
            except (AggregationError, VerificationError) as error:
                # A contributor twice, or rewards of somebody who is no member.
                rule_text = "scores and rewards must follow from contributors and members"
                self._fault(
                    chain_round, f"rewards {chain_round.rewards_root.hex()}", rule_text, str(error)
                )
                cumulative = self._settlements.cumulative(chain_round)
        named = [(e.leaf.contributor, u) for e, u in zip(entries, updates, strict=True)]
        done = PreviousRound(named, base)
        self._carried[chain_round.round_id] = Carried(new_velocity, done, cumulative)
        for old in [
            r for r in self._carried if r not in (chain_round.round_id, chain_round.parent)
        ]:
            del self._carried[old]

    def _check_entries(
        self, chain_round: ChainRound, entries: Sequence[ContributorEntry], rule: Rule
    ) -> None:
        domain, stakes = self._ledger.domain(), self._ledger.stakes_at(chain_round.round_id)
        for broken in broken_leaves(chain_round, entries, rule, domain, stakes):
            self._fault(chain_round, *broken)
        try:
            for broken in broken_commitments(
                chain_round, entries, domain, self._store, agreed=self._sealed
            ):
                self._fault(chain_round, *broken)
        except StoreError as error:
            name = f"commitments {chain_round.commitments_root.hex()}"
            self._refused(chain_round, name, "commitments must hash to the committed root", error)

    def _fault(self, chain_round: ChainRound, artifact: str, rule: str, detail: str) -> None:
        self._findings.fault(int(chain_round.round_id), artifact, rule, detail)

    def _refused(
        self, chain_round: ChainRound, artifact: str, rule: str, error: FedproofError
    ) -> None:
        self._findings.refused(int(chain_round.round_id), artifact, rule, error)

    def _read_rule(self, chain_round: ChainRound) -> tuple[Rule, Manifest] | None:
        name = f"rule {chain_round.rule_hash.hex()}"
        try:
            rule = rule_from(self._store.get_document("rule", chain_round.rule_hash))
            with contextlib.suppress(UnknownRuleError):  # said where it is needed
                validate_rule(rule)
            name = f"manifest {rule.manifest_hash.hex()}"
            manifest = Manifest.from_json(self._store.get_bytes(rule.manifest_hash))
            check_manifest(rule, manifest)
        except FedproofError as error:
            self._refused(chain_round, name, "the announced rule must be in the store", error)
            return None
        return rule, manifest

    def _is_loaded(self, chain_round: ChainRound, rule: Rule) -> bool:
        """Return whether the rule can be applied here; if not, note that it was not checked."""
        try:
            chosen(rule)
        except UnknownRuleError as error:
            name = f"new model {chain_round.new_model_root.hex()}"
            self._refused(chain_round, name, "new model must be what the rule gives", error)
            return False
        return True

    def _entries(self, chain_round: ChainRound) -> list[ContributorEntry] | None:
        name = f"contributors {chain_round.contributors_root.hex()}"
        try:
            document = self._store.get_document("contributors", chain_round.contributors_root)
            return contributor_entries(document)
        except StoreError as error:
            self._refused(chain_round, name, "contributors must hash to the committed root", error)
            return None

    def _vector(
        self, chain_round: ChainRound, root: bytes, manifest: Manifest, label: str
    ) -> Int32Vector | None:
        try:
            return self._store.get_vector(root, manifest)
        except StoreError as error:
            rule = "vector must hash to the committed root"
            self._refused(chain_round, f"{label} {root.hex()}", rule, error)
            return None

    def _updates(
        self,
        chain_round: ChainRound,
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
                self._refused(chain_round, name, "update must hash to its committed root", result)
            elif result is None:
                bound = f"L2 norm above {rule.norm_bound_q}"
                self._fault(chain_round, name, "update must obey the norm bound", bound)
            else:
                updates.append(result)
        return updates if len(updates) == len(entries) else None

    # --- the result ----------------------------------------------------------------------------

    def _reaggregate(
        self,
        chain_round: ChainRound,
        rule: Rule,
        manifest: Manifest,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
        base: Int32Vector,
        velocity: Int32Vector | None,
    ) -> tuple[Int32Vector | None, Int32Vector | None]:
        artifact = f"new model {chain_round.new_model_root.hex()}"
        try:
            weights = [entry.leaf.weight for entry in entries]
            applied = apply_rule(rule, base, updates, weights, velocity)
        except FedproofError as error:
            self._fault(chain_round, artifact, "the announced rule must apply", str(error))
            return None, None
        root = parameter_root(applied.model, manifest)
        if root != chain_round.new_model_root:
            self._fault(
                chain_round,
                artifact,
                "new model must be what the rule gives",
                f"the rule gives {root.hex()}",
            )
            return None, applied.velocity
        return applied.model, applied.velocity
