"""The round service: drives one round at a time through the state machine.

One :class:`RoundService` serves the simulator, the daemon and the tests; it is the
:class:`~coordinator.ports.RoundDriver` that the Flower strategy calls. All of its state is in chain
and store: after a crash a new service reads from the ledger which step was completed last, and
continues with the next.

Not thread-safe: one caller at a time. Not handled: selecting a cohort, transport, and waiting for
replies (the strategy).

:class:`~coordinator.service.round_runner.RoundRunner` carries out the effects of a round's machine.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from coordinator.ports import (
    ArtifactStore,
    InstructionStore,
    Ledger,
    Refusal,
    RoundAnnouncement,
    RoundJournal,
    RoundOutcome,
    Scorer,
)
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.documents import commitments_document
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import (
    ContributorError,
    LedgerError,
    PhaseError,
)
from coordinator.protocol.instructions import (
    EVALUATE,
    REVEAL,
    content_hash,
    differences,
    phase_number,
)
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.rules.chosen import quorum
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    RoundId,
    RoundInput,
    RoundInstruction,
    ScoredRound,
    Signed,
    SignedInstruction,
    UpdateMessage,
    Wei,
    address_bytes,
)
from coordinator.service.archive import RoundArchive, decided_rounds
from coordinator.service.closing import Closer
from coordinator.service.plan import FederationPlan
from coordinator.service.round_runner import LATE, RoundParts, RoundRunner
from coordinator.service.settling import Settler
from coordinator.stores.instructions import MemoryInstructions


class RoundService:
    """Opens, collects, seals, settles and finalises rounds, one collection at a time.

    Parameters
    ----------
    ledger, store, journal
        Ports; see ``coordinator.ports``.
    scorer
        Returns a non-negative integer for each contributor of a sealed round.
    plan
        The federation's agreed rule and manifest.
    feed
        Publishes every event of every round.
    instructions
        Remembers what was signed; in memory unless given. A coordinator that others depend on gives
        one that lasts, so that it never signs two different instructions (ADR 165).
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ArtifactStore,
        journal: RoundJournal,
        scorer: Scorer,
        plan: FederationPlan,
        feed: RoundFeed | None = None,
        instructions: InstructionStore | None = None,
    ) -> None:
        self._instructions = instructions or MemoryInstructions()
        self._ledger = ledger
        self._store = store
        self._plan = plan
        self._feed = feed or RoundFeed()
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
        self._round = self._runner(RoundId(0), machine.Phase.VOID)

    @property
    def state(self) -> machine.RoundState:
        """The state of the current round's machine (read-only)."""
        return self._round.state

    # --- ``simulations.run.dishonest`` overrides these ------------------------------------------

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return the result to store and seal: the computed one.

        A simulated dishonest coordinator returns another one (ADR 81). Raises ``AggregationError``
        to void the round.
        """
        return result

    def drafted_settlement(self, chain_round: ChainRound, scored: ScoredRound) -> ScoredRound:
        """Return the scores and rewards to settle; overridden as :meth:`drafted_result`."""
        return scored

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return the cumulative rewards in wei after ``parent``, by address."""
        return self._archive.earned_before(parent)

    # --- the model -----------------------------------------------------------------------

    @property
    def completed_rounds(self) -> int:
        """How many rounds the ledger has decided, void ones included."""
        return decided_rounds(self._ledger)

    def next_model(self) -> tuple[Manifest, bytes]:
        """Return layout and root, 32 bytes, of the model that the next round opens on."""
        return self._plan.manifest, self._ledger.head().model_root

    def model(self) -> Int32Vector:
        """Return the model that training has come to, shape ``(d,)``, fixed point."""
        return self._archive.model(self._ledger.head().model_root)

    def initial_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the model agreed on before the first round, as named tensors in order."""
        head = self._ledger.head()
        root = self._ledger.round(RoundId(1)).model_root if head.last_opened else head.model_root
        return dequantise(self._store.get_vector(root, self._plan.manifest), self._plan.manifest)

    # --- the driver's calls --------------------------------------------------------------

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or continue one that a crash left open.

        Rounds that a crash left sealed are settled first, and rounds whose window has passed are
        finalised.
        """
        self.catch_up()
        head = self._ledger.head()
        last = self._ledger.round(head.last_opened)
        resumed = last.status is RoundStatus.OPEN
        if resumed and self._ledger.now() >= last.deadline:
            self._archive.note_void(last.round_id, LATE)  # before voiding, as RoundRunner._void
            self._ledger.void_round(last.round_id, LATE)
            resumed = False
        round_id = RoundId(head.last_opened if resumed else head.last_opened + 1)
        self._round = self._runner(round_id, machine.Phase.IDLE)
        self._round.apply(machine.OpenRequested())
        return self._announce()

    def sign_instruction(
        self, round_id: RoundId, phase: str, content: JsonObject
    ) -> SignedInstruction:
        """Return the signed instruction for a phase of a round.

        It is kept before it is returned. If one of this phase was signed already, that one is
        returned, with its own content: a coordinator that was restarted, with other settings
        perhaps, must not sign a second one.

        Parameters
        ----------
        round_id
            The open round; to evaluate, one that is not open any more.
        phase
            ``"train"``, ``"reveal"`` or ``"evaluate"``.
        content
            Of ``protocol.instructions.message_content`` or ``reveal_content``.

        Raises
        ------
        PhaseError
            If the round is not in this phase.
        LedgerError
            If another model, rule, deadline or list of commitments was signed for the round: the
            chain has replaced one of its blocks. Then nothing can be sent for it.
        StoreError
            If the instruction cannot be kept.
        """
        facts = self._ledger.round(round_id)
        is_open = facts.status is RoundStatus.OPEN
        if facts.status is RoundStatus.NONE or is_open is (phase == EVALUATE):
            raise PhaseError(f"round {round_id} is {facts.status.word}: nothing to {phase}")
        base_model = facts.model_root
        if phase == EVALUATE and facts.status.has_result:
            base_model = facts.new_model_root
        statement = RoundInstruction(
            round_id,
            phase_number(phase),
            base_model,
            facts.rule_hash,
            facts.deadline,
            content_hash(content),
        )
        signed = self._ledger.sign_instruction(statement)
        instruction = SignedInstruction(self._ledger.domain(), signed, content)
        for before in self._instructions.of(instruction.slot):
            _require_same_round(before, instruction)
            return before
        self._instructions.keep(instruction)
        return instruction

    def commit(self, signed: Signed[Commitment]) -> None:
        """Offer one commitment of a sealed round.

        An equal repeat is accepted and changes nothing. If a contributor signs two different ones,
        neither counts: the first would depend on the order of arrival (ADR 102).

        Raises
        ------
        ContributorError
            If the commitment is refused; the refusal is recorded and the round goes on.
        PhaseError
            If the federation is not sealed, or no round is open.
        """
        collection, state = self._round.collection, self.state
        if not state.sealed:
            raise PhaseError(f"round {state.round_id} takes no commitments: it is not sealed")
        try:
            verdict = collection.screen_commitment(signed, state)
        except ContributorError as error:
            if error.code == "conflicting-commitment" and signed.signer in state.commitments:
                self._round.apply(machine.CommitmentsConflicted(signed.signer))
            else:
                self._refuse_contributor(signed.signer, error)
            raise
        if verdict == "new":
            self._round.apply(machine.CommitmentAccepted(signed))

    def close_commitments(self) -> JsonObject | None:
        """Put the commitments on chain; return their document, or ``None`` if the round is void.

        Raises
        ------
        PhaseError
            If the round is not gathering commitments.
        """
        self._round.apply(machine.CommitmentsClosed())
        return self._commitments()

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Offer one update of shape ``(d,)`` int32; the vector is kept, not copied.

        In a sealed round ``salt`` opens its commitment. An equal repeat is accepted and changes
        nothing. A different update signed by the same contributor is equivocation: the first one is
        dropped too, and both signatures are submitted to the ledger.

        Raises
        ------
        ContributorError
            If the update is refused; the refusal is recorded and the round goes on.
        """
        collection = self._round.collection
        try:
            if collection.screen(signed, vector, metrics, salt, self.state) == "duplicate":
                return
        except EquivocationError as error:
            first, second = error.evidence
            self._round.apply(machine.Equivocated(first, second))
            raise
        except ContributorError as error:
            self._refuse_contributor(signed.signer, error)
            raise
        collection.keep(signed, vector, metrics, salt if self.state.sealed else None)
        self._round.apply(machine.UpdateAccepted(signed))

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a refused submission.

        A sender that was refused while commitments were gathered is not recorded again for having
        nothing to reveal: a resumed round asks every node.
        """
        if sender not in self._round.refused_early:
            code = error.code if isinstance(error, ContributorError) else "unreadable"
            self._round.apply(machine.UpdateRefused(sender, code, str(error)))

    def _refuse_contributor(self, claimed: Address, error: ContributorError) -> None:
        proven = error.contributor is not None
        sender = claimed + ("" if proven else " (unproven)")
        self._round.apply(machine.UpdateRefused(sender, error.code, str(error)))

    def close_round(self) -> RoundOutcome:
        """Aggregate, store, seal, score and settle the accepted updates; or void the round.

        Equivocators are slashed first, even if the round is voided.
        """
        if self.state.phase is not machine.Phase.VOID:
            self._round.apply(machine.CollectionClosed())
        state = self.state
        sealed = state.phase is not machine.Phase.VOID
        if sealed:
            self.finalize_ready()
        head = self._ledger.head()
        accepted = sorted(state.accepted, key=address_bytes) if sealed else []
        metrics = self._round.collection.metrics
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
        """Settle sealed rounds, then finalise those whose window has passed.

        While a round is open nothing is finalised: an uninterrupted coordinator finalises only
        between rounds, and one that was killed must make exactly the same blocks.
        """
        for pending in self._settler.pending():
            runner = self._runner(pending.round_id, machine.Phase.SCORING)
            runner.carry_out(machine.ScoreRound())
            if runner.state.phase is machine.Phase.VOID:
                break  # a fraud was proven meanwhile, so rounds that build on it are void too
        if self._ledger.round(self._ledger.head().last_opened).status is not RoundStatus.OPEN:
            self.finalize_ready()

    def finalize_ready(self) -> None:
        """Finalise, in order, every settled round whose window has passed."""
        while (candidate := self.next_to_finalize()) is not None:
            if candidate.finalizable_at is None or not candidate.can_be_final(self._ledger.now()):
                return
            runner = self._round
            if self.state.round_id != candidate.round_id or (
                self.state.phase is not machine.Phase.SETTLED
            ):
                runner = self._runner(candidate.round_id, machine.Phase.SETTLED)
            runner.apply(machine.WindowPassed(candidate.finalizable_at))

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""
        return self._settler.next_to_finalize()

    # --- state machines ----------------------------------------------------------------------

    def _runner(self, round_id: RoundId, phase: machine.Phase) -> RoundRunner:
        """Return the runner of a round, in the phase that the ledger says."""
        parts = RoundParts(
            ledger=self._ledger,
            store=self._store,
            plan=self._plan,
            rule_hash=self._rule_hash,
            archive=self._archive,
            closer=self._closer,
            settler=self._settler,
            drafted_result=self.drafted_result,
            feed=self._feed,
        )
        need = quorum(self._plan.rule)
        state = machine.RoundState(round_id, need, phase, sealed=self._plan.sealed)
        return RoundRunner(parts, state)

    def _announce(self) -> RoundAnnouncement:
        context = self._round.collection.context
        return RoundAnnouncement(
            round_id=context.round_id,
            model=self._archive.model(context.base_model_root),
            model_root=context.base_model_root,
            manifest=self._plan.manifest,
            domain=context.domain,
            rule_hash=self._rule_hash,
            deadline=self.state.deadline,
            sealed=self._plan.sealed,
            commitments=self._commitments(),
        )

    def _commitments(self) -> JsonObject | None:
        """Return the commitments document if the commitments are on chain, else ``None``."""
        if not self.state.sealed or self.state.phase is not machine.Phase.COLLECTING:
            return None
        return commitments_document(self.state.round_id, self.state.commitments)


def _require_same_round(before: SignedInstruction, now: SignedInstruction) -> None:
    """Refuse to sign for a round that is another one by now; only an app's config may change."""
    changes = differences(before, now)
    if now.slot.phase != REVEAL:
        changes = {name: pair for name, pair in changes.items() if not name.startswith("content")}
    if changes:
        what = ", ".join(f"{name} {old} became {new}" for name, (old, new) in changes.items())
        raise LedgerError(
            f"round {now.slot.round_id}: another {now.slot.phase} instruction was signed for it "
            f"({what}): the chain has replaced a block of the round, and a second instruction "
            "would be equivocation; the round ends at its deadline"
        )
