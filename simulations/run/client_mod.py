"""The signing mod of simulated contributors, which carries out their attacks.

A real attacker would act here, between its training and its signature (ADR 64). The attacks are in
:mod:`simulations.attacks.contributor`; this mod calls their hooks with a contributor's data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

# isort: split
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    MetricRecord,
    RecordDict,
)
from numpy.typing import NDArray

from clients.mod.chain_view import CachedChainView
from clients.mod.instruction import Instruction, VerifiedModel
from clients.mod.journal import MemoryJournal
from clients.mod.participation import pending_of
from clients.mod.pending import FilePending
from clients.mod.reply import read_metrics, statement_record
from clients.mod.sealing import commitment_reply, read_reveal_query
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import Participant, VerifiableUpdates
from coordinator.protocol import wire
from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.types import Int32Vector, JsonObject, RoundId, UpdateMessage
from simulations.attacks.contributor import Reply, Stage
from simulations.attacks.contributor.hooks import AttackHooks, RoundKnowledge, VectorsOnDemand
from simulations.engines.reply_timing import delayed_reply, silent_reply
from simulations.engines.spec import SimulationSpec
from simulations.engines.worker import parent_chain_view
from simulations.run.attackers_knowledge import overheard, published_updates
from simulations.run.cohort import PUBLIC_UPDATES, SHADOW, Attackers, client_of
from simulations.run.identities import private_key

TrainHonestly = Callable[[int, int, ArrayRecord], ArrayRecord]
"""``(client, round, model) -> trained model``, on the client's unchanged data."""


@dataclass
class _BenignUpdates:
    """The honest updates of one round that this process has computed, by client."""

    round_id: RoundId
    base_model: bytes
    vectors: dict[int, Int32Vector] = field(default_factory=dict)


class SimulatedUpdates(VerifiableUpdates):
    """The signing mod of simulated contributors, with the experiment's attacks.

    Parameters
    ----------
    spec
        The experiment, and the folder of its artifacts.
    train_honestly
        Trains for another contributor, for attackers that share their honest updates.
    """

    def __init__(self, spec: SimulationSpec, train_honestly: TrainHonestly) -> None:
        self._view = CachedChainView(parent_chain_view())
        self._spec = spec
        self._train_honestly = train_honestly
        self._attackers = Attackers(spec.experiment)
        self._benign = _BenignUpdates(RoundId(0), b"")
        super().__init__(self._participant_of)

    def _participant_of(self, context: Context) -> Participant:
        key = self._key(client_of(context))
        # An equivocator's two nodes have separate journals and folders, or the mod would refuse
        # the second signature.
        pending = None
        if self._spec.pending is not None:
            pending = FilePending(self._spec.pending / str(context.node_id), durable=False)
        return Participant(
            KeySigner(key),
            self._view,
            MemoryJournal(),
            pending=pending,
            sealed=self._spec.experiment.cohort.sealed,
        )

    def _key(self, client: int) -> bytes:
        return private_key(self._spec.experiment.seed, f"contributor {client}")

    def _hooks(self, context: Context, round_id: RoundId) -> AttackHooks | None:
        return self._attackers.hooks(client_of(context), round_id)

    # --- signing an update -------------------------------------------------------------------

    def _signed_reply(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        hooks = self._hooks(context, instruction.round_id)
        is_shadow = bool(context.node_config[SHADOW])
        if hooks is None and not is_shadow:
            return super()._signed_reply(content, instruction, model, participant, context)
        stage: Stage = "commitment" if instruction.sealed else "update"
        if hooks is not None and self._is_missed(hooks, stage):
            return silent_reply()
        update = self._update(content, instruction, model)
        if hooks is not None:
            update = self._attacked(hooks, update, instruction, model, is_shadow=is_shadow)
        reply = self._attackers_reply(hooks, content, update, instruction, model, participant)
        if instruction.sealed or hooks is None:
            return reply
        return self._timed(hooks, stage, reply)

    def _attacked(
        self,
        hooks: AttackHooks,
        update: Int32Vector,
        instruction: Instruction,
        model: VerifiedModel,
        *,
        is_shadow: bool,
    ) -> Int32Vector:
        update = update.copy()  # training a colluder overwrites the buffer
        benign = self._benign_of(instruction, model)
        if hooks.attack.trains and not hooks.attack.changes_data:
            benign[hooks.client] = update
        known = RoundKnowledge(
            model.base,
            instruction.manifest.scale_bits,
            self._published(instruction),
            VectorsOnDemand(
                hooks.colluders,
                lambda client: self._benign_update(client, instruction, model),
            ),
        )
        update = hooks.update(update, known)
        return hooks.second_update(update, known) if is_shadow else update

    def _attackers_reply(
        self,
        hooks: AttackHooks | None,
        content: RecordDict,
        update: Int32Vector,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
    ) -> RecordDict:
        """Sign and pack an update; ``hooks`` is ``None`` for the shadow in an honest round."""
        metrics_name, metrics = read_metrics(content)
        statement = UpdateMessage(
            round_id=instruction.round_id,
            base_model=model.root,
            update=self._root(update, instruction),
            examples=int(metrics[wire.EXAMPLES_METRIC]),
            metrics_hash=metrics_hash(metrics),
        )
        if hooks is not None:
            statement = hooks.statement(statement)
        if statement.examples != metrics[wire.EXAMPLES_METRIC]:
            metrics = {**metrics, wire.EXAMPLES_METRIC: statement.examples}
            statement = replace(statement, metrics_hash=metrics_hash(metrics))
        signed = participant.signer.sign(participant.chain_view.domain, statement)
        reply = Reply(update, signed.signature)
        if hooks is not None:
            reply = hooks.reply(reply)
        record = statement_record(replace(signed, signature=reply.signature))
        return _records(reply.vector, metrics_name, metrics, record)

    # --- sealed rounds -----------------------------------------------------------------------

    def _kept(
        self,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict | None:
        kept = super()._kept(instruction, model, participant, context)
        hooks = self._hooks(context, instruction.round_id)
        if kept is None or hooks is None:
            return kept
        return self._timed(hooks, "commitment", kept)

    def _committed(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        if wire.STATEMENT_RECORD not in content:  # an attack that sends no reply
            return content
        hooks = self._hooks(context, instruction.round_id)
        victim = None if hooks is None else hooks.attack.overhears
        if victim is None:
            reply = super()._committed(content, instruction, model, participant, context)
        else:
            domain = participant.chain_view.domain
            pending = overheard(
                content,
                round_id=instruction.round_id,
                base_model=model.root,
                domain=domain,
                signer=participant.signer,
                victim=KeySigner(self._key(victim)),
            )
            pending_of(participant, context).put(domain, pending)
            reply = commitment_reply(pending.commitment)
        return reply if hooks is None else self._timed(hooks, "commitment", reply)

    def _reveal(self, content: RecordDict, context: Context) -> RecordDict:
        hooks = self._hooks(context, read_reveal_query(content).round_id)
        if hooks is None:
            return super()._reveal(content, context)
        if self._is_missed(hooks, "reveal"):
            return silent_reply()
        return self._timed(hooks, "reveal", super()._reveal(content, context))

    # --- timing ------------------------------------------------------------------------------

    def _is_missed(self, hooks: AttackHooks, stage: Stage) -> bool:
        """Return whether a reply is sent after the round's deadline, or never."""
        delay_s = hooks.delay_s(stage)
        return delay_s is None or delay_s >= self._spec.experiment.chain.round_deadline_s

    def _timed(self, hooks: AttackHooks, stage: Stage, reply: RecordDict) -> RecordDict:
        delay_s = hooks.delay_s(stage)
        return delayed_reply(reply, delay_s) if delay_s else reply

    # --- data for the hooks ------------------------------------------------------------------

    def _published(self, instruction: Instruction) -> VectorsOnDemand:
        """Return the updates that the parent round published, by client."""
        roots = str(instruction.config.get(PUBLIC_UPDATES, "{}"))
        return published_updates(roots, self._spec.artifacts, instruction.manifest)

    def _benign_of(self, instruction: Instruction, model: VerifiedModel) -> dict[int, Int32Vector]:
        cached = self._benign
        if (cached.round_id, cached.base_model) != (instruction.round_id, model.root):
            self._benign = cached = _BenignUpdates(instruction.round_id, model.root)
        return cached.vectors

    def _benign_update(
        self, client: int, instruction: Instruction, model: VerifiedModel
    ) -> Int32Vector:
        """Return a colluder's honest update; trained here, once per round and process."""
        vectors = self._benign_of(instruction, model)
        if client not in vectors:
            received = ArrayRecord(dict(model.arrays))
            trained = self._train_honestly(client, int(instruction.round_id), received)
            content = RecordDict({instruction.arrays_name: trained})
            vectors[client] = self._update(content, instruction, model).copy()
        return vectors[client]


def _records(
    vector: NDArray[Any], metrics_name: str, metrics: JsonObject, statement: ConfigRecord
) -> RecordDict:
    array = Array(str(vector.dtype), vector.shape, "numpy.ndarray", wire.encode_npy(vector))
    return RecordDict(
        {
            wire.ARRAYS_RECORD: ArrayRecord({wire.UPDATE_ARRAY: array}),
            metrics_name: MetricRecord(dict(metrics)),
            wire.STATEMENT_RECORD: statement,
        }
    )
