"""The Flower mod that makes an unmodified ClientApp verifiable.

Put it first in the list of mods, so that it is outermost and signs the result of all others::

    app = ClientApp(mods=[VerifiableUpdates()])

Before the app runs, it checks the coordinator's signature and the model against the chain, and
gives the app named float tensors; afterwards it converts the trained tensors to the ``int32``
update, computes its root and signs it. The app's metrics are not changed, and their hash is signed.
In a sealed round the answer is a commitment, and the signed update is kept until a query asks to
reveal it. Not handled: local differential privacy and the like, which are separate mods, further
in.
"""

import logging
from collections.abc import Callable

# isort: split
import numpy as np
from flwr.app import (
    ArrayRecord,
    Context,
    Error,
    Message,
    MessageType,
    RecordDict,
)

from clients.mod.chain_view import CachedChainView
from clients.mod.context_journal import ContextJournal
from clients.mod.instruction import (
    Instruction,
    InstructionRefusedError,
    ModelVerifier,
    VerifiedModel,
    read_instruction,
)
from clients.mod.instruction_check import check_instruction, check_reveal_query
from clients.mod.participation import Participant, check_rule, check_sealed, pending_of
from clients.mod.reply import read_metrics, statement_record, trained_tensor, update_record
from clients.mod.sealing import (
    CommitmentsVerifier,
    commit_to,
    commitment_reply,
    is_reveal_query,
    read_reveal_query,
    revealed,
)
from coordinator.protocol import wire
from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ContributorError, FedproofError
from coordinator.protocol.numbers.fixed_point import quantise_into, subtract
from coordinator.protocol.types import Int32Vector, UpdateMessage

__all__ = ["ClientAppCallable", "Participant", "VerifiableUpdates", "no_queries"]

_log = logging.getLogger(__name__)

ClientAppCallable = Callable[[Message, Context], Message]
_MOD_FAILED_PRECONDITION = 6  # of Flower's error codes


class VerifiableUpdates:
    """A Flower mod; one instance serves every message of a process.

    Parameters
    ----------
    participant
        The participant, or a function of Flower's ``Context`` that returns it, called once per
        node. ``None`` reads it from the node's configuration (:mod:`clients.mod.participant`).
    threads
        Threads for hashing; 1 if many clients share the machine.
    """

    def __init__(
        self,
        participant: Participant | Callable[[Context], Participant] | None = None,
        *,
        threads: int | None = 1,
    ) -> None:
        self._source = participant
        self._threads = threads
        self._participants: dict[int, Participant] = {}
        self._verifiers: dict[int, tuple[ModelVerifier, CommitmentsVerifier]] = {}
        self._buffer: Int32Vector = np.empty(0, np.int32)

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Verify, run the app and sign; or reply with an error that names the reason."""
        context.run_config.pop(wire.RUN_TOKEN, None)  # the coordinator's, no business of an app's
        kind = message.metadata.message_type.split(".")[0]
        revealing = kind == MessageType.QUERY and is_reveal_query(message.content)
        if kind not in (MessageType.TRAIN, MessageType.EVALUATE) and not revealing:
            return call_next(message, context)
        try:
            if revealing:
                return Message(self._reveal(message.content, context), reply_to=message)
            if kind == MessageType.TRAIN:
                return self._train(message, context, call_next)
            return self._evaluate(message, context, call_next)
        except (InstructionRefusedError, ContributorError) as error:
            return _decline(message, error.code, error)
        except FedproofError as error:
            return _decline(message, "client-failure", error)

    def _train(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        participant = self._participant(context)
        instruction = read_instruction(message.content)
        check_instruction(instruction, participant, training=True)
        model = self._verifier(participant)[0].verified(instruction, training=True)
        check_rule(instruction, participant)
        check_sealed(instruction, participant)
        if instruction.sealed:
            kept = self._kept(instruction, model, participant, context)
            if kept is not None:
                return Message(kept, reply_to=message)
        message.content = _plain_content(instruction, model)
        reply = _answer(message, context, call_next)
        if reply.has_error():
            return reply
        content = self._signed_reply(reply.content, instruction, model, participant, context)
        if instruction.sealed:
            content = self._committed(content, instruction, model, participant, context)
        reply.content = content
        return reply

    def _evaluate(
        self, message: Message, context: Context, call_next: ClientAppCallable
    ) -> Message:
        participant = self._participant(context)
        instruction = read_instruction(message.content)
        check_instruction(instruction, participant, training=False)
        model = self._verifier(participant)[0].verified(instruction, training=False)
        check_rule(instruction, participant)
        message.content = _plain_content(instruction, model)
        return _answer(message, context, call_next)

    # --- sealed rounds ---------------------------------------------------------------------

    def _kept(
        self,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict | None:
        """Return the commitment given before, if the question is a repeat."""
        pending, domain = pending_of(participant, context), participant.chain_view.domain
        kept = pending.get(domain, instruction.round_id, participant.signer.address)
        if kept is None or kept.base_model != model.root:
            return None
        return commitment_reply(kept.commitment)

    def _committed(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        """Keep a signed reply and return the commitment to it."""
        domain = participant.chain_view.domain
        update = commit_to(
            content,
            base_model=model.root,
            round_id=instruction.round_id,
            domain=domain,
            signer=participant.signer,
        )
        pending_of(participant, context).put(domain, update)
        return commitment_reply(update.commitment)

    def _reveal(self, content: RecordDict, context: Context) -> RecordDict:
        participant = self._participant(context)
        query, address = read_reveal_query(content), participant.signer.address
        check_reveal_query(query, participant)
        committed = self._verifier(participant)[1].committed(query, address)
        domain = participant.chain_view.domain
        kept = pending_of(participant, context).get(domain, query.round_id, address)
        if kept is None or kept.commitment.statement.commitment != committed:
            raise InstructionRefusedError(
                "update-lost",
                f"round {query.round_id}: nothing is kept that opens commitment {committed.hex()}",
            )
        return revealed(kept)

    # --- cached per process ------------------------------------------------------------------

    def _participant(self, context: Context) -> Participant:
        if isinstance(self._source, Participant):
            return self._source
        if context.node_id not in self._participants:
            if self._source is None:
                from clients.mod.participant import from_node_config  # web3, only where needed

                self._participants[context.node_id] = from_node_config(context)
            else:
                self._participants[context.node_id] = self._source(context)
        return self._participants[context.node_id]

    def _verifier(self, participant: Participant) -> tuple[ModelVerifier, CommitmentsVerifier]:
        """Return the verifiers for a view of the chain, shared by clients that share the view."""
        view = participant.chain_view
        if id(view) not in self._verifiers:
            cached = view if isinstance(view, CachedChainView) else CachedChainView(view)
            self._verifiers[id(view)] = (
                ModelVerifier(cached, threads=self._threads),
                CommitmentsVerifier(cached),
            )
        return self._verifiers[id(view)]

    def _signed_reply(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        metrics_name, metrics = read_metrics(content)
        update = self._update(content, instruction, model)
        statement = UpdateMessage(
            round_id=instruction.round_id,
            base_model=model.root,
            update=self._root(update, instruction),
            examples=int(metrics[wire.EXAMPLES_METRIC]),
            metrics_hash=metrics_hash(metrics),
        )
        journal = participant.journal or ContextJournal(context)
        domain, contributor = participant.chain_view.domain, participant.signer.address
        journal.record(domain, statement.round_id, contributor, statement.update)
        signed = participant.signer.sign(domain, statement)
        others = {
            name: record
            for name, record in content.config_records.items()
            if name != wire.STATEMENT_RECORD
        }
        return RecordDict(
            {
                wire.ARRAYS_RECORD: update_record(update),
                metrics_name: content.metric_records[metrics_name],
                wire.STATEMENT_RECORD: statement_record(signed),
                **others,
            }
        )

    def _root(self, update: Int32Vector, instruction: Instruction) -> bytes:
        return parameter_root(update, instruction.manifest, threads=self._threads)

    def _update(
        self, content: RecordDict, instruction: Instruction, model: VerifiedModel
    ) -> Int32Vector:
        """Return trained minus received model as int32, shape ``(d,)``; reused by the next call."""
        if len(content.array_records) != 1:
            names = sorted(content.array_records)
            raise wire.malformed("wrong-records", "reply", f"arrays {names}", "one array record")
        (record,) = content.array_records.values()
        if not record:
            expected = f"the model's {len(instruction.manifest.tensors)}"
            raise wire.malformed("wrong-records", "reply", "no arrays", expected)
        specs = {spec.name: spec for spec in instruction.manifest.tensors}
        trained = {
            name: trained_tensor(name, array, specs)
            for name, array in record.items()
            if name not in instruction.buffers
        }
        if self._buffer.shape != model.base.shape:
            self._buffer = np.empty_like(model.base)
        quantise_into(trained, instruction.manifest, self._buffer)
        return subtract(self._buffer, model.base, out=self._buffer)


def _plain_content(instruction: Instruction, model: VerifiedModel) -> RecordDict:
    """Return the content that the app would receive from another strategy."""
    return RecordDict(
        {
            instruction.arrays_name: ArrayRecord(dict(model.arrays)),
            instruction.config_name: instruction.config,
        }
    )


def _answer(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Return the app's reply; name the adapter that an app of Flower's former API lacks."""
    try:
        return call_next(message, context)
    except KeyError as error:
        if error.args[:1] not in (("fitins.parameters",), ("evaluateins.parameters",)):
            raise
        raise InstructionRefusedError(
            "client-failure",
            "the app is one of Flower's former API (client_fn); expected fedproof.numpy_clients as "
            "the last of its mods",
        ) from error


def no_queries(message: Message, _context: Context) -> Message:
    """Refuse all queries; register it (``app.query()(no_queries)``) in an app without queries.

    Flower runs mods only for kinds of message that the app handles, and a sealed round's updates
    are revealed in answer to a query (ADR 103).
    """
    error = InstructionRefusedError("not-fedproof", "this application answers no queries")
    return _decline(message, error.code, error)


def _decline(message: Message, code: str, error: FedproofError) -> Message:
    _log.warning("declined (%s): %s", code, error)
    reason = f"{wire.CLIENT_REFUSAL_PREFIX}{code}: {error}"
    return Message(Error(_MOD_FAILED_PRECONDITION, reason), reply_to=message)
