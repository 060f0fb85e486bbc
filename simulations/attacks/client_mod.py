"""The signing mod of simulated contributors: where they misbehave, if they do."""

from dataclasses import replace

# isort: split
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    MetricRecord,
    RecordDict,
)

from clients.mod.chain_view import CachedChainView
from clients.mod.instruction import Instruction, VerifiedModel
from clients.mod.journal import MemoryJournal
from clients.mod.participation import pending_of
from clients.mod.pending import FilePending, PendingUpdate
from clients.mod.reply import read_metrics, statement_record
from clients.mod.sealing import commit_to, commitment_reply
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import Participant, VerifiableUpdates
from coordinator.flower.records import read_statement
from coordinator.protocol import wire
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.types import Int32Vector, JsonObject, UpdateMessage
from coordinator.stores.disk import DiskStore
from simulations.attacks.behaviours import (
    Behaviour,
    Reply,
    UpdateContext,
    behaviour_of,
    copy_source,
)
from simulations.engines.no_reply import silent_reply
from simulations.engines.spec import SimulationSpec
from simulations.engines.worker import parent_chain_view
from simulations.run.cohort import PUBLIC_UPDATES, SHADOW, client_of
from simulations.run.identities import private_key
from simulations.seeds import generator


class SimulatedUpdates(VerifiableUpdates):
    """The signing mod of simulated contributors: misbehaves as the experiment says."""

    def __init__(self, spec: SimulationSpec) -> None:
        self._view = CachedChainView(parent_chain_view())
        self._spec = spec
        super().__init__(self._participant_of)

    def _participant_of(self, context: Context) -> Participant:
        key = self._key(client_of(context))
        # journal and folder of its own: the two nodes of an equivocator must not know of each other
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

    def _signed_reply(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        client, is_shadow = client_of(context), bool(context.node_config[SHADOW])
        experiment = self._spec.experiment
        behaviour = behaviour_of(experiment.behaviours, client, int(instruction.round_id))
        if behaviour.label == "honest" and not is_shadow:
            return super()._signed_reply(content, instruction, model, participant, context)
        update = self._misshape(
            behaviour, self._update(content, instruction, model), client, instruction
        )
        if is_shadow:
            second = behaviour.second_update(update)
            if second is None:  # not yet equivocating: the shadow repeats its principal
                second = update
            update = second
        return self._misbehaved_reply(behaviour, content, update, instruction, model, participant)

    def _committed(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        if wire.STATEMENT_RECORD not in content:  # it stays silent
            return content
        behaviours, client = self._spec.experiment.behaviours, client_of(context)
        behaviour = behaviour_of(behaviours, client, int(instruction.round_id))
        if behaviour.overhears is None:
            return super()._committed(content, instruction, model, participant, context)
        pending = self._overheard(content, instruction, model, participant, behaviour.overhears)
        pending_of(participant, context).put(participant.chain_view.domain, pending)
        return commitment_reply(pending.commitment)

    def _overheard(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        victim: int,
    ) -> PendingUpdate:
        """Return what is overheard of a victim: its commitment, and later its update and salt.

        ``content`` is the victim's update, signed by the eavesdropper. Salts follow from
        signatures, so the victim's is worked out here instead of listened for.
        """
        domain, signer = participant.chain_view.domain, KeySigner(self._key(victim))
        message = read_statement(content).statement
        original = RecordDict(
            {wire.STATEMENT_RECORD: statement_record(signer.sign(domain, message))}
        )
        heard = commit_to(
            original,
            base_model=model.root,
            round_id=instruction.round_id,
            domain=domain,
            signer=signer,
        )
        ours = participant.signer.sign_statement(domain, heard.commitment.statement)
        return PendingUpdate(ours, model.root, heard.salt, content)

    def _misshape(
        self, behaviour: Behaviour, update: Int32Vector, client: int, instruction: Instruction
    ) -> Int32Vector:
        rng = generator(self._spec.experiment.seed, "behaviour", int(instruction.round_id), client)
        copied = self._copied(client, instruction) if behaviour.copies else None
        return behaviour.shape_update(update, UpdateContext(rng, copied))

    def _copied(self, client: int, instruction: Instruction) -> Int32Vector | None:
        """Return the update of the round below that a copying contributor passes off as its own."""
        told = str(instruction.config.get(PUBLIC_UPDATES, "{}"))
        roots: dict[str, str] = parse_json(told.encode(), PUBLIC_UPDATES)
        source = copy_source(client, [int(other) for other in roots])
        if source is None or self._spec.artifacts is None:
            return None
        store = DiskStore(self._spec.artifacts, read_only=True)
        return store.get_vector(bytes.fromhex(roots[str(source)]), instruction.manifest)

    def _misbehaved_reply(
        self,
        behaviour: Behaviour,
        content: RecordDict,
        update: Int32Vector,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
    ) -> RecordDict:
        metrics_name, metrics = read_metrics(content)
        statement = behaviour.shape_message(
            UpdateMessage(
                round_id=instruction.round_id,
                base_model=model.root,
                update=self._root(update, instruction),
                examples=int(metrics[wire.EXAMPLES_METRIC]),
                metrics_hash=metrics_hash(metrics),
            )
        )
        if statement.examples != metrics[wire.EXAMPLES_METRIC]:
            metrics = {**metrics, wire.EXAMPLES_METRIC: statement.examples}
            statement = replace(statement, metrics_hash=metrics_hash(metrics))
        signed = participant.signer.sign(participant.chain_view.domain, statement)
        sent = behaviour.corrupt_reply(Reply(update, signed.signature))
        if sent is None:
            return silent_reply()
        return _records(
            sent, metrics_name, metrics, statement_record(replace(signed, signature=sent.signature))
        )


def _records(
    sent: Reply, metrics_name: str, metrics: JsonObject, statement: ConfigRecord
) -> RecordDict:
    vector = sent.vector
    array = Array(str(vector.dtype), vector.shape, "numpy.ndarray", wire.encode_npy(vector))
    return RecordDict(
        {
            wire.ARRAYS_RECORD: ArrayRecord({wire.UPDATE_ARRAY: array}),
            metrics_name: MetricRecord(dict(metrics)),
            wire.STATEMENT_RECORD: statement,
        }
    )
