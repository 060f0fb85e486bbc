"""Carries out the effects of one round's state machine, and reports their results as events.

Before it reports, every effect makes durable what the next effect commits to. So a process may be
killed at any time: the next one reads from the ledger which effect was carried out last. Not
handled: choosing rounds, and taking submissions (``round_service``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from coordinator.ports import ArtifactStore, Ledger
from coordinator.protocol.commitments.documents import commitments_document, name_of
from coordinator.protocol.errors import AggregationError, PhaseError, TransactionRevertedError
from coordinator.protocol.round import machine
from coordinator.protocol.round.chain_round import NO_ROOT, RoundStatus, Settlement
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.round.screening import RoundContext
from coordinator.protocol.types import RoundId, RoundInput
from coordinator.service.archive import RoundArchive
from coordinator.service.closing import Aggregation, Closer
from coordinator.service.collecting import Collection
from coordinator.service.plan import FederationPlan
from coordinator.service.settling import Settler

LATE = "deadline passed"


@dataclass(frozen=True, slots=True)
class RoundParts:
    """The parts needed to carry out effects.

    ``drafted_result`` returns the result to store and seal, given the computed one: the simulator's
    dishonest coordinator overrides it, so that no attack code is in this package (ADR 81).
    """

    ledger: Ledger
    store: ArtifactStore
    plan: FederationPlan
    rule_hash: bytes
    archive: RoundArchive
    closer: Closer
    settler: Settler
    drafted_result: Callable[[RoundInput], RoundInput]
    feed: RoundFeed


class RoundRunner:
    """The state machine of one round, with its submissions and computed results.

    Attributes
    ----------
    state
        The machine's state (read-only).
    refused_early
        Senders refused while commitments were gathered.
    """

    def __init__(self, parts: RoundParts, state: machine.RoundState) -> None:
        self._parts = parts
        self.state = state
        self.refused_early: frozenset[str] = frozenset()
        self._collection: Collection | None = None
        self._result: RoundInput | None = None
        self._settlement: Settlement | None = None

    @property
    def collection(self) -> Collection:
        """The submissions of the round.

        Raises
        ------
        PhaseError
            If the round was not opened by this object.
        """
        if self._collection is None:
            raise PhaseError("no round is open: call open_round first")
        return self._collection

    def apply(self, event: machine.Event) -> None:
        """Apply an event, publish it, and carry out its effects.

        Raises
        ------
        PhaseError
            If the round's phase does not allow the event.
        FedproofError
            Any error of ledger, store or rule.
        """
        self.state, effects = machine.transition(self.state, event)
        self._parts.feed.publish(self.state.round_id, event)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: machine.Effect) -> None:
        """Carry out one effect; called by :meth:`apply`, and to resume a round."""
        match effect:
            case machine.OpenRound():
                self._open(effect.round_id)
            case machine.CommitUpdates():
                self._commit_updates()
            case machine.KeepUpdate():
                vector = self.collection.vectors[effect.signed.signer]
                root = effect.signed.statement.update
                self._parts.store.put_vector(vector, self._parts.plan.manifest, root)
            case machine.DropUpdate():
                self.collection.drop(effect.contributor)
            case machine.SlashEquivocation():
                self._slash(effect)
            case machine.Aggregate():
                self._aggregate()
            case machine.SealRound():
                self._seal()
            case machine.ScoreRound():
                self._score()
            case machine.SettleRound():
                self._settle()
            case machine.FinalizeRound():
                self._finalize(effect.window_end)
            case machine.VoidRound():
                self._void(effect.reason)
            case _:
                assert_never(effect)

    # --- opening and collecting --------------------------------------------------------------

    def _open(self, round_id: RoundId) -> None:
        ledger, plan = self._parts.ledger, self._parts.plan
        while (head := ledger.head()).last_opened < round_id:
            deadline = ledger.now() + plan.round_duration_s
            try:
                ledger.open_round(round_id, head.model_root, self._parts.rule_hash, deadline)
            except TransactionRevertedError:
                # A fraud proven since the head was read has moved it: read it again.
                if ledger.head().model_root == head.model_root:
                    raise
        opened = ledger.round(round_id)
        context = RoundContext(
            round_id=round_id,
            base_model_root=opened.model_root,
            manifest=plan.manifest,
            domain=ledger.domain(),
            rule=plan.rule,
            stakes=ledger.stakes_at(round_id),
            limits=plan.limits,
        )
        archive = self._parts.archive
        self._collection = Collection(context, archive.model(opened.model_root))
        if opened.commitments_root == NO_ROOT:
            self.apply(machine.RoundOpened(opened.deadline))
            return
        _, commitments = archive.commitments(opened)
        self.apply(machine.RoundOpened(opened.deadline, commitments))
        for refusal in archive.refusals(round_id):
            self.apply(refusal)
        self.refused_early = frozenset(refusal.sender for refusal in self.state.refusals)

    def _commit_updates(self) -> None:
        """Make commitments and refusals durable, then put the commitments' root on chain."""
        if self._note_if_void():
            return
        state, parts = self.state, self._parts
        document = commitments_document(state.round_id, state.commitments)
        root = name_of("commitments", document)
        parts.store.put_document("commitments", root, document)
        parts.archive.note(state.round_id, "committed", state.refusals)
        parts.store.sync()
        try:
            parts.ledger.commit_updates(
                state.round_id, commitments_root=root, count=len(state.commitments)
            )
        except TransactionRevertedError:
            if self._note_if_over():
                return
            raise
        self.refused_early = frozenset(refusal.sender for refusal in state.refusals)
        self.apply(machine.UpdatesCommitted())

    # --- closing -----------------------------------------------------------------------------

    def _slash(self, effect: machine.SlashEquivocation) -> None:
        """Submit two statements to the ledger, which accepts them even if the round is void."""
        ledger, contributor = self._parts.ledger, effect.first.signer
        if not ledger.is_equivocation_slashed(self.state.round_id, contributor):
            ledger.slash_equivocation(effect.first, effect.second)

    def _aggregate(self) -> None:
        """Apply the rule, and make all that the seal will commit to durable."""
        if self._note_if_void():
            return
        state, parts = self.state, self._parts
        try:
            aggregation = parts.closer.aggregate(self.collection, state.accepted)
            self._result = parts.drafted_result(aggregation.result)
        except AggregationError as error:
            self.apply(machine.AggregationFailed(str(error)))
            return
        velocity = parts.closer.store(
            state.round_id, Aggregation(self._result, aggregation.velocity)
        )
        parts.archive.note(state.round_id, "sealed", state.refusals, velocity=velocity)
        parts.store.sync()
        self.apply(machine.Aggregated())

    def _seal(self) -> None:
        assert self._result is not None  # made by the effect before this one
        try:
            seal = self._parts.closer.seal(self.state.round_id, self._result)
        except TransactionRevertedError:
            if self._note_if_over():
                return
            raise
        self.apply(machine.RoundSealed(seal))

    def _score(self) -> None:
        """Score the contributors and split the budget; make both documents durable."""
        parts = self._parts
        chain_round = parts.ledger.round(self.state.round_id)
        result = self._result or parts.archive.result(chain_round)
        self._settlement = parts.settler.score(chain_round, result)
        self.apply(machine.Scored())

    def _settle(self) -> None:
        assert self._settlement is not None  # made by the effect before this one
        try:
            self._parts.ledger.settle_round(self.state.round_id, self._settlement)
        except TransactionRevertedError:
            if self._note_if_void():
                return
            raise
        self.apply(machine.RoundSettled(self._settlement))

    def _finalize(self, window_end: int) -> None:
        ledger, round_id = self._parts.ledger, self.state.round_id
        try:
            ledger.finalize_round(round_id)
        except TransactionRevertedError:
            # Convicted at the last second, or held because of a dispute: not to be finalised now.
            now = ledger.round(round_id)
            if now.status is RoundStatus.VOID:
                self.apply(machine.RoundVoided(ledger.void_reason(round_id)))
            elif now.finalizable_at != window_end:
                self.apply(machine.WindowExtended())
            else:
                raise
            return
        self.apply(machine.RoundFinalized())

    # --- voiding -----------------------------------------------------------------------------

    def _void(self, reason: str) -> None:
        """Note the round as void, then void it: after that it is never examined again."""
        if self._note_if_void():
            return
        state, parts = self.state, self._parts
        parts.archive.note(state.round_id, "void", state.refusals, reason=reason)
        parts.store.sync()
        parts.ledger.void_round(state.round_id, reason)
        self.apply(machine.RoundVoided(reason))

    def _note_if_void(self) -> bool:
        """Note that a fraud proven in this round, or in one that it builds on, has made it void.

        If the process is killed before, there is no note, and only the ledger's reason is known.
        """
        round_id, ledger = self.state.round_id, self._parts.ledger
        if ledger.round(round_id).status is not RoundStatus.VOID:
            return False
        reason = ledger.void_reason(round_id)
        self.apply(machine.RoundVoided(reason))
        if self._collection is None:  # another process collected the round, and noted refusals
            self._parts.archive.note_void(round_id, reason)
        else:
            self._parts.archive.note(round_id, "void", self.state.refusals, reason=reason)
        return True

    def _note_if_over(self) -> bool:
        """Note that the round is void, or void it if its deadline has passed."""
        parts = self._parts
        chain_round = parts.ledger.round(self.state.round_id)
        if chain_round.status is RoundStatus.OPEN and parts.ledger.now() >= chain_round.deadline:
            parts.archive.note(chain_round.round_id, "void", self.state.refusals, reason=LATE)
            parts.ledger.void_round(chain_round.round_id, LATE)
        return self._note_if_void()
