"""The round service: drives one collection at a time through the state machine.

One :class:`RoundService` serves the simulator, the daemon and the tests; it is the
:class:`~coordinator.ports.RoundDriver` that the Flower strategy talks to. It keeps nothing that
the chain and the store do not: after a crash a new service finds out from the ledger which step
was the last one acknowledged, and goes on with the next.

Not thread-safe: one caller at a time. Not handled here: selecting a cohort, moving bytes,
waiting for replies (the strategy's work).
"""

from coordinator.core import rounds as machine
from coordinator.core.errors import (
    ContributorError,
    EquivocationError,
    PhaseError,
)
from coordinator.core.rules import quorum
from coordinator.core.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    RoundId,
    Signed,
    SignedUpdate,
    address_bytes,
)
from coordinator.ports import (
    ChainRound,
    Refusal,
    RoundAnnouncement,
    RoundOutcome,
)
from coordinator.service.effects import LATE, RoundEffects


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
        resumed = last.status == "open"
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
        signed: SignedUpdate,
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
            self._refuse_contributor(signed.contributor, error)
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
        if self._ledger.round(self._ledger.head().last_opened).status != "open":
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
