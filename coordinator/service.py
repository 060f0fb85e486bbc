"""Runs rounds: carries out the state machine's effects against ledger and store.

One :class:`RoundService` serves the simulator, the daemon and the tests; it is the
:class:`~coordinator.ports.RoundDriver` that the Flower strategy talks to. It keeps nothing that
the chain and the store do not: after a crash a new service finds out from the ledger which step
was the last one acknowledged, and goes on with the next.

Not thread-safe: one caller at a time. Not handled here: selecting a cohort, moving bytes,
waiting for replies (the strategy's work).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from coordinator.core import rounds as machine
from coordinator.core.commitment import rule_hash
from coordinator.core.documents import (
    ContributorEntry,
    contributor_entries,
    contributors_document,
    name_of,
    reward_leaves,
    rewards_document,
    rule_document,
    scores_document,
)
from coordinator.core.errors import (
    AggregationError,
    ContributorError,
    EquivocationError,
    MalformedUpdateError,
    PhaseError,
    TransactionRevertedError,
)
from coordinator.core.incentives import accumulate, split_budget
from coordinator.core.manifest import Manifest
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.round_result import (
    PreviousRound,
    RoundInput,
    apply_rule,
    build_entries,
    score_leaves_of,
    totals,
)
from coordinator.core.rules import quorum
from coordinator.core.screening import (
    RoundContext,
    UpdateLimits,
    screen_envelope,
    screen_range,
    screen_vector,
)
from coordinator.core.types import (
    Address,
    Int32Vector,
    JsonObject,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
    SignedUpdate,
    Wei,
    address_bytes,
)
from coordinator.ports import (
    ArtifactStore,
    ChainRound,
    Ledger,
    Refusal,
    RoundAnnouncement,
    RoundJournal,
    RoundOutcome,
    Scorer,
)

Observer = Callable[[machine.Event], None]
"""Told of every event after it was applied: screens, logs and metrics hang here."""


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """What was agreed before training: the rule, the model's shape, and the patience."""

    manifest: Manifest
    rule: Rule
    round_duration_s: int
    limits: UpdateLimits


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settles a round: scores and cumulative rewards in order of address, and the payment."""

    scores: list[ScoreLeaf]
    rewards: list[RewardLeaf]
    paid_wei: Wei


class RoundService:
    """Opens, collects, seals, settles and finalises rounds, one collection at a time.

    Parameters
    ----------
    ledger, store, journal
        Ports; see ``coordinator.ports``.
    scorer
        Gives each contributor of a sealed round a non-negative integer.
    plan
        The federation's agreed rule and manifest.
    observe
        Called with each event of the round's state machine.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ArtifactStore,
        journal: RoundJournal,
        scorer: Scorer,
        plan: FederationPlan,
        observe: Observer = lambda _event: None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._journal = journal
        self._scorer = scorer
        self._plan = plan
        self._observe = observe
        self._rule_hash = rule_hash(plan.rule)
        self._state = machine.RoundState(RoundId(0), 0, machine.Phase.VOID)
        self._context: RoundContext | None = None
        self._vectors: dict[Address, Int32Vector] = {}
        self._metrics: dict[Address, JsonObject] = {}
        self._evidence: dict[Address, tuple[SignedUpdate, SignedUpdate]] = {}
        self._model: tuple[bytes, Int32Vector] | None = None
        self._result: RoundInput | None = None

    @property
    def state(self) -> machine.RoundState:
        """The machine of the round in hand (read-only)."""
        return self._state

    # --- the driver's four calls ---------------------------------------------------------

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or go on with one that a crash left open.

        Rounds that a crash left sealed are settled first, and those whose window has passed are
        finalised.
        """
        self.catch_up()
        head = self._ledger.head()
        last = self._ledger.round(head.last_opened) if head.last_opened else None
        resumed = last is not None and last.status == "open"
        if resumed and last is not None and self._ledger.now() >= last.deadline:
            self._ledger.void_round(last.round_id, "deadline passed")
            resumed = False
        round_id = RoundId(head.last_opened if resumed else head.last_opened + 1)
        self._state = machine.RoundState(round_id, quorum(self._plan.rule))
        self._vectors.clear()
        self._metrics.clear()
        self._evidence.clear()
        self._apply(machine.OpenRequested())
        return self._announce()

    def submit(self, signed: SignedUpdate, vector: Int32Vector, metrics: JsonObject) -> None:
        """Offer one update of shape ``(d,)`` int32; the vector is kept, not copied.

        An equal repeat is accepted in silence. A different update signed by the same contributor
        is equivocation: the first one is dropped too, and both signatures go to the ledger.

        Raises
        ------
        ContributorError
            If the update is refused; the refusal is recorded and the round goes on.
        """
        context = self._require_context()
        try:
            verdict = screen_envelope(
                signed, vector.nbytes, context, self._state.accepted, metrics=metrics
            )
            if verdict == "duplicate":
                return
            self._check_not_equivocator(signed)
            screen_vector(vector, signed, context)
            screen_range(vector, self._current_model(context.base_model_root), signed)
        except EquivocationError as error:
            first, second = error.evidence
            self._apply(machine.Equivocated(first, second))
            raise
        except ContributorError as error:
            proven = error.contributor is not None
            self.refuse(signed.contributor + ("" if proven else " (unproven)"), error)
            raise
        self._vectors[signed.contributor] = vector
        self._metrics[signed.contributor] = metrics
        self._apply(machine.UpdateAccepted(signed))

    def _check_not_equivocator(self, signed: SignedUpdate) -> None:
        if signed.contributor in self._state.equivocators:
            raise MalformedUpdateError(
                f"update of {signed.contributor}: it signed two different updates for round "
                f"{self._state.round_id} and takes no further part in it",
                code="equivocator",
                contributor=signed.contributor,
                round_id=self._state.round_id,
            )

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a submission that was not taken."""
        code = error.code if isinstance(error, ContributorError) else "unreadable"
        self._apply(machine.UpdateRefused(sender, code, str(error)))

    def close_round(self) -> RoundOutcome:
        """Aggregate, store, seal, score and settle what was accepted; or void the round.

        Equivocators are slashed first: that needs no sealed round.
        """
        self._punish()
        if not self._give_up_if_void():
            self._apply(machine.CollectionClosed())
        state = self._state
        sealed = state.phase is not machine.Phase.VOID
        if sealed:
            self.finalize_ready()
        head = self._ledger.head()
        accepted = sorted(state.accepted, key=address_bytes) if sealed else []
        return RoundOutcome(
            round_id=state.round_id,
            status="sealed" if sealed else "void",
            reason=state.void_reason,
            model=self._current_model(head.model_root),
            model_root=head.model_root,
            accepted=accepted,
            refusals=[Refusal(state.round_id, r.sender, r.code, r.message) for r in state.refusals],
            metrics={a: self._metrics[a] for a in accepted},
        )

    # --- recovery and finality -------------------------------------------------------------

    def catch_up(self) -> None:
        """Settle what was sealed but not settled, then finalise what may be.

        While a round is open nothing is finalised: an undisturbed coordinator finalises between
        rounds only, and one that was killed must go on with the very same blocks.
        """
        head = self._ledger.head()
        pending = []
        cursor = head.last_sealed
        while cursor > head.last_settled:
            pending.append(self._ledger.round(cursor))
            cursor = pending[-1].parent
        for chain_round in reversed(pending):
            if not self._settle(chain_round, self._load_result(chain_round)):
                break  # a fraud was proven meanwhile: what stood above is void too
        if not head.last_opened or self._ledger.round(head.last_opened).status != "open":
            self.finalize_ready()

    def finalize_ready(self) -> None:
        """Finalise, in order, every settled round whose window has passed."""
        while (candidate := self.next_to_finalize()) is not None:
            if self._ledger.now() < candidate.finalizable_at:
                return
            try:
                self._ledger.finalize_round(candidate.round_id)
            except TransactionRevertedError:
                # Convicted at the last second, or held for a dispute: then it is not our turn.
                now = self._ledger.round(candidate.round_id)
                if now.status == "void" or now.finalizable_at > candidate.finalizable_at:
                    continue
                raise
            if self._state.round_id == candidate.round_id:
                self._note(machine.WindowPassed())
                self._note(machine.RoundFinalized())

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""
        head = self._ledger.head()
        found = None
        cursor = head.last_settled
        while cursor > head.last_final:
            found = self._ledger.round(cursor)
            cursor = found.parent
        return found

    # --- effects -----------------------------------------------------------------------------

    def _apply(self, event: machine.Event) -> None:
        for effect in self._note(event):
            self._carry_out(effect)

    def _note(self, event: machine.Event) -> tuple[machine.Effect, ...]:
        self._state, effects = machine.transition(self._state, event)
        self._observe(event)
        return effects

    def _carry_out(self, effect: machine.Effect) -> None:
        match effect:
            case machine.OpenRound():
                self._open(effect.round_id)
            case machine.KeepUpdate():
                self._keep(effect.signed)
            case machine.DropUpdate():
                self._vectors.pop(effect.contributor, None)
                self._metrics.pop(effect.contributor, None)
            case machine.RecordRefusal():
                pass  # kept in the state; written to the journal before the round is decided
            case machine.SlashEquivocation():
                self._evidence[effect.first.contributor] = (effect.first, effect.second)
            case machine.Aggregate():
                self._aggregate()
            case machine.SealRound():
                self._seal()
            case machine.ScoreRound():
                self._apply(machine.Scored())
            case machine.SettleRound():
                chain_round = self._ledger.round(self._state.round_id)
                if self._settle(chain_round, self._require_result()):
                    self._apply(machine.RoundSettled())
                else:
                    self._give_up_if_void()
            case machine.FinalizeRound():
                self._ledger.finalize_round(self._state.round_id)
                self._apply(machine.RoundFinalized())
            case machine.VoidRound():
                self._void(effect.reason)
            case _:
                assert_never(effect)

    def _open(self, round_id: RoundId) -> None:
        while (head := self._ledger.head()).last_opened < round_id:
            deadline = self._ledger.now() + self._plan.round_duration_s
            try:
                self._ledger.open_round(round_id, head.model_root, self._rule_hash, deadline)
            except TransactionRevertedError:
                # A fraud proven between the look and the call has moved the head: look again.
                if self._ledger.head().model_root == head.model_root:
                    raise
        opened = self._ledger.round(round_id)
        self._context = RoundContext(
            round_id=round_id,
            base_model_root=opened.model_root,
            manifest=self._plan.manifest,
            domain=self._ledger.domain(),
            rule=self._plan.rule,
            stakes=self._ledger.stakes_at(round_id),
            limits=self._plan.limits,
        )
        self._apply(machine.RoundOpened(opened.deadline))

    def _announce(self) -> RoundAnnouncement:
        context = self._require_context()
        return RoundAnnouncement(
            round_id=context.round_id,
            model=self._current_model(context.base_model_root),
            model_root=context.base_model_root,
            manifest=self._plan.manifest,
            domain=context.domain,
            rule_hash=self._rule_hash,
            deadline=self._state.deadline,
        )

    def _keep(self, signed: SignedUpdate) -> None:
        vector = self._vectors[signed.contributor]
        self._store.put_vector(vector, self._plan.manifest, signed.message.update)

    def _punish(self) -> None:
        """Bring the evidence gathered while collecting to the ledger.

        In order of address, and each pair in order of update root: replies arrive in any order,
        but the same set of them must lead to the same blocks.
        """
        for contributor in sorted(self._evidence, key=address_bytes):
            first, second = sorted(
                self._evidence[contributor], key=lambda signed: signed.message.update
            )
            if not self._ledger.is_equivocation_slashed(self._state.round_id, contributor):
                self._ledger.slash_equivocation(first, second)

    def _aggregate(self) -> None:
        """Apply the rule and make everything the seal will commit to durable."""
        context, rule = self._require_context(), self._plan.rule
        entries = build_entries(
            context.round_id, self._state.accepted, self._metrics, context.stakes, rule
        )
        base = self._current_model(context.base_model_root)
        updates = [self._vectors[e.leaf.contributor] for e in entries]
        velocity = self._velocity(self._ledger.head().last_sealed)
        try:
            applied = apply_rule(rule, base, updates, [e.leaf.weight for e in entries], velocity)
            root = parameter_root(applied.model, self._plan.manifest)
            drafted = RoundInput(entries, updates, base, applied.model, root, velocity)
            result = self._result = self.drafted_result(drafted)
        except AggregationError as error:
            self._apply(machine.AggregationFailed(str(error)))
            return
        self._store.put_vector(result.new_model, self._plan.manifest, result.new_model_root)
        velocity_root = b""
        if applied.velocity is not None:
            velocity_root = parameter_root(applied.velocity, self._plan.manifest)
            self._store.put_vector(applied.velocity, self._plan.manifest, velocity_root)
        document = contributors_document(context.round_id, result.entries)
        self._store.put_document("contributors", name_of("contributors", document), document)
        self._write_journal("sealed", velocity_root)
        self._store.sync()
        self._apply(machine.Aggregated())

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return what is to be stored and sealed: what was computed.

        A seam for ``simulations.dishonest``, whose coordinator seals something else. Raises
        ``AggregationError`` to give the round up.
        """
        return result

    def drafted_settlement(self, chain_round: ChainRound, settlement: Settlement) -> Settlement:
        """Return what is to be stored and settled; a seam as :meth:`drafted_result`."""
        return settlement

    def _seal(self) -> None:
        result, round_id = self._require_result(), self._state.round_id
        total_examples, total_stake = totals(result.entries, self._plan.rule)
        document = contributors_document(round_id, result.entries)
        try:
            self._ledger.seal_round(
                round_id,
                contributors_root=name_of("contributors", document),
                n=len(result.entries),
                total_examples=total_examples,
                total_stake_wei=total_stake,
                new_model_root=result.new_model_root,
            )
        except TransactionRevertedError:
            if self._give_up_if_void():
                return
            raise
        self._model = (result.new_model_root, result.new_model)
        self._apply(machine.RoundSealed())

    def _settle(self, chain_round: ChainRound, result: RoundInput) -> bool:
        """Score a sealed round and commit scores and rewards; false if it has become void."""
        drafted = self._settlement(chain_round, result)
        settlement = self.drafted_settlement(chain_round, drafted)
        scores = scores_document(settlement.scores)
        rewards = rewards_document(settlement.rewards)
        self._store.put_document("scores", name_of("scores", scores), scores)
        self._store.put_document("rewards", name_of("rewards", rewards), rewards)
        self._store.sync()
        try:
            self._ledger.settle_round(
                chain_round.round_id,
                scores_root=name_of("scores", scores),
                total_score=sum(leaf.score for leaf in settlement.scores),
                rewards_root=name_of("rewards", rewards),
                paid_wei=settlement.paid_wei,
            )
        except TransactionRevertedError:
            if self._ledger.round(chain_round.round_id).status == "void":
                return False
            raise
        return True

    def _settlement(self, chain_round: ChainRound, result: RoundInput) -> Settlement:
        seed = self._ledger.seal_seed(chain_round.round_id)
        previous = self._previous_round(chain_round.parent)
        scores = self._scorer.score(result, self._plan.rule, seed, previous)
        leaves = score_leaves_of(chain_round.round_id, result.entries, scores)
        split = split_budget(
            chain_round.budget_wei, {leaf.contributor: leaf.score for leaf in leaves}
        )
        members = sorted(self._ledger.members(chain_round.member_count), key=address_bytes)
        rewards = accumulate(self.earned_before(chain_round.parent), members, split.shares)
        return Settlement(leaves, rewards, split.paid_wei)

    def _void(self, reason: str) -> None:
        self._write_journal("void", b"")
        self._store.sync()
        self._ledger.void_round(self._state.round_id, reason)
        self._apply(machine.RoundVoided(reason))

    def _give_up_if_void(self) -> bool:
        """Record that a fraud proven in this round, or in one below it, has made it void."""
        round_id = self._state.round_id
        if self._ledger.round(round_id).status != "void":
            return False
        reason = self._ledger.void_reason(round_id)
        self._note(machine.RoundVoided(reason))
        self._write_journal("void", b"")
        return True

    # --- what the ledger and the store remember ------------------------------------------------

    def _write_journal(self, status: str, velocity_root: bytes) -> None:
        refusals = sorted((r.sender, r.code, r.message) for r in self._state.refusals)
        self._journal.put(
            self._state.round_id,
            {
                "round": self._state.round_id,
                "status": status,
                "reason": self._state.void_reason,
                "velocity": velocity_root.hex(),
                "refusals": [
                    {"sender": sender, "code": code, "message": message}
                    for sender, code, message in refusals
                ],
            },
        )

    def _current_model(self, root: bytes) -> Int32Vector:
        if self._model is None or self._model[0] != root:
            self._model = (root, self._store.get_vector(root, self._plan.manifest))
        return self._model[1]

    def _velocity(self, sealed: RoundId) -> Int32Vector | None:
        """Return the server momentum after a sealed round, or ``None`` where there is none."""
        if not self._plan.rule.server_momentum_q16 or not sealed:
            return None
        entry = self._journal.get(sealed)
        root = bytes.fromhex(str(entry["velocity"]))
        return self._store.get_vector(root, self._plan.manifest)

    def _entries(self, chain_round: ChainRound) -> list[ContributorEntry]:
        document = self._store.get_document("contributors", chain_round.contributors_root)
        return contributor_entries(document)

    def _load_result(self, chain_round: ChainRound) -> RoundInput:
        """Read a sealed round back from the store."""
        manifest, entries = self._plan.manifest, self._entries(chain_round)
        return RoundInput(
            entries=entries,
            updates=[self._store.get_vector(e.leaf.update_root, manifest) for e in entries],
            base_model=self._store.get_vector(chain_round.model_root, manifest),
            new_model=self._store.get_vector(chain_round.new_model_root, manifest),
            new_model_root=chain_round.new_model_root,
            velocity=self._velocity(chain_round.parent),
        )

    def _previous_round(self, parent: RoundId) -> PreviousRound | None:
        """Return the round below, whose public updates a copier could re-send."""
        if not parent or not self._scorer.needs_previous_round:
            return None
        below, manifest = self._ledger.round(parent), self._plan.manifest
        updates = [
            (e.leaf.contributor, self._store.get_vector(e.leaf.update_root, manifest))
            for e in self._entries(below)
        ]
        return PreviousRound(updates, self._store.get_vector(below.model_root, manifest))

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return what everyone had earned once ``parent`` was settled."""
        if not parent:
            return {}
        root = self._ledger.round(parent).rewards_root
        leaves = reward_leaves(self._store.get_document("rewards", root))
        return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}

    def _require_context(self) -> RoundContext:
        if self._context is None:
            raise PhaseError("no round is open: call open_round first")
        return self._context

    def _require_result(self) -> RoundInput:
        if self._result is None:
            raise PhaseError(f"round {self._state.round_id}: nothing is aggregated yet")
        return self._result


def publish_plan(store: ArtifactStore, plan: FederationPlan, initial_model: Int32Vector) -> bytes:
    """Store what a verifier needs before the first round; return the initial model's root."""
    root = parameter_root(initial_model, plan.manifest)
    store.put_vector(initial_model, plan.manifest, root)
    store.put_document("rule", rule_hash(plan.rule), rule_document(plan.rule))
    store.put_bytes(plan.manifest.to_json())
    store.sync()
    return root
