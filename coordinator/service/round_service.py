"""The round service: drives one collection at a time through the state machine.

One :class:`RoundService` serves the simulator, the daemon and the tests; it is the
:class:`~coordinator.ports.RoundDriver` that the Flower strategy talks to. It keeps nothing that
the chain and the store do not: after a crash a new service finds out from the ledger which step
was the last one acknowledged, and goes on with the next.

Not thread-safe: one caller at a time. Not handled here: selecting a cohort, moving bytes,
waiting for replies (the strategy's work).

:class:`RoundEffects` holds the machine of the round in hand and feeds it what came of each effect.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from coordinator.ports import (
    ArtifactStore,
    Ledger,
    Refusal,
    RoundAnnouncement,
    RoundJournal,
    RoundOutcome,
    Scorer,
)
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.documents import commitments_document, name_of
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import (
    AggregationError,
    ContributorError,
    PhaseError,
    TransactionRevertedError,
)
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.chain_round import NO_ROOT, ChainRound, RoundStatus
from coordinator.protocol.round.result import RoundInput
from coordinator.protocol.round.screening import RoundContext
from coordinator.protocol.rules.rule import quorum
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    RoundId,
    Signed,
    UpdateMessage,
    Wei,
    address_bytes,
)
from coordinator.service.archive import RoundArchive
from coordinator.service.closing import Aggregation, Closer
from coordinator.service.collecting import Collection
from coordinator.service.plan import FederationPlan
from coordinator.service.settling import ScoredRound, Settler

Observer = Callable[[machine.Event], None]
"""Told of every event after it was applied: screens, logs and metrics hang here."""

LATE = "deadline passed"


class RoundEffects:
    """The machine of one round at a time, and the hands that carry out its effects.

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
        self._plan = plan
        self._observe = observe
        self._rule_hash = rule_hash(plan.rule)
        self._archive = RoundArchive(ledger, store, journal, plan)
        self._closer = Closer(ledger, store, plan, self._archive)
        self._settler = Settler(
            ledger,
            store,
            scorer,
            plan,
            self._archive,
            drafted=self.drafted_settlement,
            earned_before=self.earned_before,
        )
        self._state = machine.RoundState(RoundId(0), 0, machine.Phase.VOID)
        self._collection: Collection | None = None
        self._result: RoundInput | None = None
        self._refused_early: frozenset[str] = frozenset()

    @property
    def state(self) -> machine.RoundState:
        """The machine of the round in hand (read-only)."""
        return self._state

    # --- ``simulations.attacks.dishonest`` overrides these -----------------------------------

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return what is to be stored and sealed: what was computed.

        A coordinator that cheats seals something else. Raises ``AggregationError`` to give the
        round up.
        """
        return result

    def drafted_settlement(self, chain_round: ChainRound, scored: ScoredRound) -> ScoredRound:
        """Return what is to be stored and settled; a seam as :meth:`drafted_result`."""
        return scored

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return what everyone had earned once ``parent`` was settled."""
        return self._archive.earned_before(parent)

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
            case machine.CommitUpdates():
                self._commit_updates()
            case machine.KeepUpdate():
                vector = self._require_collection().vectors[effect.signed.signer]
                update = effect.signed.statement.update
                self._store.put_vector(vector, self._plan.manifest, update)
            case machine.DropUpdate():
                self._require_collection().drop(effect.contributor)
            case machine.RecordRefusal():
                pass  # kept in the state; written to the journal before the round is decided
            case machine.SlashEquivocation():
                evidence = (effect.first, effect.second)
                self._require_collection().evidence[effect.first.signer] = evidence
            case machine.Aggregate():
                self._aggregate()
            case machine.SealRound():
                self._seal()
            case machine.ScoreRound():
                self._apply(machine.Scored())
            case machine.SettleRound():
                chain_round = self._ledger.round(self._state.round_id)
                if self._settler.settle(chain_round, self._require_result()):
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
        context = RoundContext(
            round_id=round_id,
            base_model_root=opened.model_root,
            manifest=self._plan.manifest,
            domain=self._ledger.domain(),
            rule=self._plan.rule,
            stakes=self._ledger.stakes_at(round_id),
            limits=self._plan.limits,
        )
        self._collection = Collection(context, self._archive.model(opened.model_root))
        if opened.commitments_root == NO_ROOT:
            self._apply(machine.RoundOpened(opened.deadline))
            return
        _, commitments = self._archive.commitments(opened)
        self._apply(machine.RoundOpened(opened.deadline, commitments))
        for refusal in self._archive.refusals(round_id):
            self._apply(refusal)
        self._refused_early = frozenset(refusal.sender for refusal in self._state.refusals)

    def _announce(self) -> RoundAnnouncement:
        context = self._require_collection().context
        return RoundAnnouncement(
            round_id=context.round_id,
            model=self._archive.model(context.base_model_root),
            model_root=context.base_model_root,
            manifest=self._plan.manifest,
            domain=context.domain,
            rule_hash=self._rule_hash,
            deadline=self._state.deadline,
            sealed=self._plan.sealed,
            commitments=self._commitments(),
        )

    def _commitments(self) -> JsonObject | None:
        """Return the document of the commitments if they are closed and on chain."""
        if not self._state.sealed or self._state.phase is not machine.Phase.COLLECTING:
            return None
        return commitments_document(self._state.round_id, self._state.commitments)

    def _commit_updates(self) -> None:
        """Make commitments and refusals durable, then put the commitments' root on chain."""
        state = self._state
        document = commitments_document(state.round_id, state.commitments)
        root = name_of("commitments", document)
        self._store.put_document("commitments", root, document)
        self._archive.note(state.round_id, "committed", state.refusals)
        self._store.sync()
        try:
            self._ledger.commit_updates(
                state.round_id, commitments_root=root, count=len(state.commitments)
            )
        except TransactionRevertedError:
            if self._give_up_if_over():
                return
            raise
        self._refused_early = frozenset(refusal.sender for refusal in state.refusals)
        self._apply(machine.UpdatesCommitted())

    def _aggregate(self) -> None:
        """Apply the rule and make everything the seal will commit to durable."""
        state = self._state
        try:
            aggregation = self._closer.aggregate(self._require_collection(), state.accepted)
            self._result = self.drafted_result(aggregation.result)
        except AggregationError as error:
            self._apply(machine.AggregationFailed(str(error)))
            return
        drafted = Aggregation(self._result, aggregation.velocity)
        velocity = self._closer.store(state.round_id, drafted)
        self._archive.note(state.round_id, "sealed", state.refusals, velocity=velocity)
        self._store.sync()
        self._apply(machine.Aggregated())

    def _seal(self) -> None:
        try:
            self._closer.seal(self._state.round_id, self._require_result())
        except TransactionRevertedError:
            if self._give_up_if_over():
                return
            raise
        self._apply(machine.RoundSealed())

    def _void(self, reason: str) -> None:
        """Note it, then do it: a round that is void on the ledger is never looked at again."""
        state = self._state
        self._archive.note(state.round_id, "void", state.refusals, reason=state.void_reason)
        self._store.sync()
        self._ledger.void_round(state.round_id, reason)
        self._apply(machine.RoundVoided(reason))

    def _give_up_if_void(self) -> bool:
        """Record that a fraud proven in this round, or in one below it, has made it void.

        Whoever proved it did not wait for our note: killed before it, there is none, and what the
        ledger says of the round is all that is known.
        """
        round_id = self._state.round_id
        if self._ledger.round(round_id).status is not RoundStatus.VOID:
            return False
        self._note(machine.RoundVoided(self._ledger.void_reason(round_id)))
        state = self._state
        self._archive.note(round_id, "void", state.refusals, reason=state.void_reason)
        return True

    def _give_up_if_over(self) -> bool:
        """Record that the round is void, or that its deadline has come and makes it so."""
        found = self._ledger.round(self._state.round_id)
        if found.status is RoundStatus.OPEN and self._ledger.now() >= found.deadline:
            self._archive.note(found.round_id, "void", self._state.refusals, reason=LATE)
            self._ledger.void_round(found.round_id, LATE)
        return self._give_up_if_void()

    def _require_collection(self) -> Collection:
        if self._collection is None:
            raise PhaseError("no round is open: call open_round first")
        return self._collection

    def _require_result(self) -> RoundInput:
        if self._result is None:
            raise PhaseError(f"round {self._state.round_id}: nothing is aggregated yet")
        return self._result


class RoundService(RoundEffects):
    """Opens, collects, seals, settles and finalises rounds, one collection at a time."""

    # --- the driver's calls --------------------------------------------------------------

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or go on with one that a crash left open.

        Rounds that a crash left sealed are settled first, and those whose window has passed are
        finalised.
        """
        self.catch_up()
        head = self._ledger.head()
        last = self._ledger.round(head.last_opened)
        resumed = last.status is RoundStatus.OPEN
        if resumed and self._ledger.now() >= last.deadline:
            self._archive.note_void(last.round_id, LATE)  # first: see RoundEffects._void
            self._ledger.void_round(last.round_id, LATE)
            resumed = False
        round_id = RoundId(head.last_opened if resumed else head.last_opened + 1)
        self._state = machine.RoundState(
            round_id, quorum(self._plan.rule), sealed=self._plan.sealed
        )
        self._refused_early = frozenset()
        self._apply(machine.OpenRequested())
        return self._announce()

    def commit(self, signed: Signed[Commitment]) -> None:
        """Offer one commitment of a sealed round.

        An equal repeat is accepted in silence; of somebody who signs two, neither counts.

        Raises
        ------
        ContributorError
            If the commitment is refused; the refusal is recorded and the round goes on.
        PhaseError
            If the federation is not sealed, or no round is open.
        """
        collection, state = self._require_collection(), self._state
        if not state.sealed:
            raise PhaseError(f"round {state.round_id} takes no commitments: it is not sealed")
        try:
            verdict = collection.screen_commitment(signed, state)
        except ContributorError as error:
            if error.code == "conflicting-commitment" and signed.signer in state.commitments:
                self._apply(machine.CommitmentsConflicted(signed.signer))
            else:
                self._refuse_contributor(signed.signer, error)
            raise
        if verdict == "new":
            self._apply(machine.CommitmentAccepted(signed))

    def close_commitments(self) -> JsonObject | None:
        """Put the commitments on chain; return their document, or ``None`` if the round is void.

        Raises
        ------
        PhaseError
            If the round gathers no commitments.
        """
        if not self._give_up_if_void():
            self._apply(machine.CommitmentsClosed())
        return self._commitments()

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Offer one update of shape ``(d,)`` int32; the vector is kept, not copied.

        In a sealed round ``salt`` opens its commitment. An equal repeat is accepted in silence. A
        different update signed by the same contributor is equivocation: the first one is dropped
        too, and both signatures go to the ledger.

        Raises
        ------
        ContributorError
            If the update is refused; the refusal is recorded and the round goes on.
        """
        collection = self._require_collection()
        try:
            if collection.screen(signed, vector, metrics, salt, self._state) == "duplicate":
                return
        except EquivocationError as error:
            first, second = error.evidence
            self._apply(machine.Equivocated(first, second))
            raise
        except ContributorError as error:
            self._refuse_contributor(signed.signer, error)
            raise
        collection.keep(signed, vector, metrics, salt if self._state.sealed else None)
        self._apply(machine.UpdateAccepted(signed))

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a submission that was not taken.

        Whoever was refused while commitments were gathered is not counted again for having
        nothing to reveal: a resumed round asks everyone.
        """
        if sender not in self._refused_early:
            code = error.code if isinstance(error, ContributorError) else "unreadable"
            self._apply(machine.UpdateRefused(sender, code, str(error)))

    def _refuse_contributor(self, claimed: Address, error: ContributorError) -> None:
        proven = error.contributor is not None
        sender = claimed + ("" if proven else " (unproven)")
        self._apply(machine.UpdateRefused(sender, error.code, str(error)))

    def close_round(self) -> RoundOutcome:
        """Aggregate, store, seal, score and settle what was accepted; or void the round.

        Equivocators are slashed first: that needs no sealed round.
        """
        if self._state.phase is not machine.Phase.VOID:
            self._closer.punish(self._state.round_id, self._require_collection())
            if not self._give_up_if_void():
                self._apply(machine.CollectionClosed())
        state = self._state
        sealed = state.phase is not machine.Phase.VOID
        if sealed:
            self.finalize_ready()
        head = self._ledger.head()
        accepted = sorted(state.accepted, key=address_bytes) if sealed else []
        metrics = self._require_collection().metrics
        return RoundOutcome(
            round_id=state.round_id,
            status="sealed" if sealed else "void",
            reason=state.void_reason,
            model=self._archive.model(head.model_root),
            model_root=head.model_root,
            accepted=accepted,
            refusals=[Refusal(state.round_id, r.sender, r.code, r.message) for r in state.refusals],
            metrics={a: metrics[a] for a in accepted},
        )

    # --- recovery and finality -------------------------------------------------------------

    def catch_up(self) -> None:
        """Settle what was sealed but not settled, then finalise what may be.

        While a round is open nothing is finalised: an undisturbed coordinator finalises between
        rounds only, and one that was killed must go on with the very same blocks.
        """
        self._settler.settle_pending()
        if self._ledger.round(self._ledger.head().last_opened).status is not RoundStatus.OPEN:
            self.finalize_ready()

    def finalize_ready(self) -> None:
        """Finalise, in order, every settled round whose window has passed."""
        self._settler.finalize_ready(self._note_final)

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""
        return self._settler.next_to_finalize()

    def _note_final(self, round_id: RoundId) -> None:
        if self._state.round_id == round_id:
            self._note(machine.WindowPassed())
            self._note(machine.RoundFinalized())
