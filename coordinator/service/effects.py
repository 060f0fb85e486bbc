"""Carries out a round's effects against ledger, store and journal.

:class:`RoundEffects` holds the machine of the round in hand and feeds it what came of each
effect. What the transport asks for is in ``rounds``.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from coordinator.core import rounds as machine
from coordinator.core.commitment import rule_hash
from coordinator.core.documents import commitments_document, name_of
from coordinator.core.errors import (
    AggregationError,
    PhaseError,
    TransactionRevertedError,
)
from coordinator.core.round_result import RoundInput
from coordinator.core.screening import RoundContext
from coordinator.core.types import (
    Address,
    JsonObject,
    RoundId,
    Wei,
)
from coordinator.ports import (
    NO_COMMITMENTS,
    ArtifactStore,
    ChainRound,
    Ledger,
    RoundAnnouncement,
    RoundJournal,
    Scorer,
)
from coordinator.service.archive import RoundArchive
from coordinator.service.closing import Aggregation, Closer
from coordinator.service.collecting import Collection
from coordinator.service.plan import FederationPlan
from coordinator.service.settling import Settlement, Settler

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

    # --- seams: ``simulations.dishonest`` overrides them --------------------------------------

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return what is to be stored and sealed: what was computed.

        A coordinator that cheats seals something else. Raises ``AggregationError`` to give the
        round up.
        """
        return result

    def drafted_settlement(self, chain_round: ChainRound, settlement: Settlement) -> Settlement:
        """Return what is to be stored and settled; a seam as :meth:`drafted_result`."""
        return settlement

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
                vector = self._require_collection().vectors[effect.signed.contributor]
                update = effect.signed.message.update
                self._store.put_vector(vector, self._plan.manifest, update)
            case machine.DropUpdate():
                self._require_collection().drop(effect.contributor)
            case machine.RecordRefusal():
                pass  # kept in the state; written to the journal before the round is decided
            case machine.SlashEquivocation():
                evidence = (effect.first, effect.second)
                self._require_collection().evidence[effect.first.contributor] = evidence
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
        if opened.commitments_root == NO_COMMITMENTS:
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
        if self._ledger.round(round_id).status != "void":
            return False
        self._note(machine.RoundVoided(self._ledger.void_reason(round_id)))
        state = self._state
        self._archive.note(round_id, "void", state.refusals, reason=state.void_reason)
        return True

    def _give_up_if_over(self) -> bool:
        """Record that the round is void, or that its deadline has come and makes it so."""
        found = self._ledger.round(self._state.round_id)
        if found.status == "open" and self._ledger.now() >= found.deadline:
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
