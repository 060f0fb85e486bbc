"""The Flower mod that makes an unmodified ClientApp verifiable.

Put it first in the list of mods, so that it is outermost and signs what all others made::

    app = ClientApp(mods=[VerifiableUpdates()])

On the way in it checks the model against the chain and hands the app named float tensors; on
the way out it turns the trained tensors into the ``int32`` update, commits to it and signs.
The app's metrics pass unchanged, their hash signed. Not handled: local differential privacy and
the like, which are mods of their own, further in.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import clients.flower_env  # noqa: F401  (before flwr)

# isort: split
import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    Context,
    Error,
    Message,
    MessageType,
    RecordDict,
)
from numpy.typing import NDArray

from clients.chain_view import CachedChainView, ChainView
from clients.context_journal import ContextJournal
from clients.instruction import (
    Instruction,
    InstructionRefusedError,
    ModelVerifier,
    VerifiedModel,
    read_instruction,
)
from clients.journal import SignatureJournal
from clients.reply import read_metrics, statement_record, update_record
from clients.signer import UpdateSigner
from coordinator.core import wire
from coordinator.core.commitment import metrics_hash
from coordinator.core.errors import ContributorError, FedproofError, MalformedUpdateError
from coordinator.core.fixedpoint import quantise_into, subtract
from coordinator.core.manifest import TensorSpec
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.types import (
    Int32Vector,
    UpdateMessage,
)

_log = logging.getLogger(__name__)

ClientAppCallable = Callable[[Message, Context], Message]
_MOD_FAILED_PRECONDITION = 6  # of Flower's error codes


@dataclass(frozen=True)
class Participant:
    """Who a client is: its key, its view of the chain, and what it has signed.

    ``journal`` of ``None`` keeps the record in Flower's ``Context.state``, which lasts as long
    as the node's process; a contributor with money at stake wants a
    :class:`~clients.journal.FileJournal`.
    """

    signer: UpdateSigner
    chain_view: ChainView
    journal: SignatureJournal | None = None
    rule_hash: bytes | None = None


class VerifiableUpdates:
    """A Flower mod; one instance serves every message of a process.

    Parameters
    ----------
    participant
        Who signs, or a function of Flower's ``Context`` that says who: called once a node.
        ``None`` reads it from the node's configuration (:mod:`clients.participant`).
    threads
        Used to hash; 1 where many clients share the machine.
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
        self._verifiers: dict[int, ModelVerifier] = {}
        self._buffer: Int32Vector = np.empty(0, np.int32)

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Verify, let the app work, sign; or decline with an error that names the reason."""
        kind = message.metadata.message_type.split(".")[0]
        if kind not in (MessageType.TRAIN, MessageType.EVALUATE):
            return call_next(message, context)
        try:
            participant = self._participant(context)
            instruction = read_instruction(message.content)
            training = kind == MessageType.TRAIN
            model = self._verifier(participant).verified(instruction, training=training)
            _check_rule(instruction, participant)
            message.content = _plain_content(instruction, model)
            reply = call_next(message, context)
            if training and not reply.has_error():
                reply.content = self._signed_reply(
                    reply.content, instruction, model, participant, context
                )
            return reply
        except (InstructionRefusedError, ContributorError) as error:
            return _decline(message, error.code, error)
        except FedproofError as error:
            return _decline(message, "client-failure", error)

    def _participant(self, context: Context) -> Participant:
        if isinstance(self._source, Participant):
            return self._source
        if context.node_id not in self._participants:
            if self._source is None:
                from clients.participant import from_node_config  # web3, only where needed

                self._participants[context.node_id] = from_node_config(context)
            else:
                self._participants[context.node_id] = self._source(context)
        return self._participants[context.node_id]

    def _verifier(self, participant: Participant) -> ModelVerifier:
        """Return the verifier of this view of the chain: shared by clients that share the view."""
        view = participant.chain_view
        if id(view) not in self._verifiers:
            cached = view if isinstance(view, CachedChainView) else CachedChainView(view)
            self._verifiers[id(view)] = ModelVerifier(cached, threads=self._threads)
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
        """Return trained minus received, in integers; valid until the next call."""
        if len(content.array_records) != 1:
            names = sorted(content.array_records)
            raise wire.malformed("wrong-records", "reply", f"arrays {names}", "one array record")
        (record,) = content.array_records.values()
        specs = {spec.name: spec for spec in instruction.manifest.tensors}
        trained = {
            name: _trained_tensor(name, array, specs)
            for name, array in record.items()
            if name not in instruction.buffers
        }
        if self._buffer.shape != model.base.shape:
            self._buffer = np.empty_like(model.base)
        quantise_into(trained, instruction.manifest, self._buffer)
        return subtract(self._buffer, model.base, out=self._buffer)


def _trained_tensor(name: str, array: Array, specs: dict[str, TensorSpec]) -> NDArray[Any]:
    if (spec := specs.get(name)) is None:
        raise MalformedUpdateError(
            f"reply: tensor {name!r} is not in the manifest, expected {len(specs)} tensors",
            code="extra-tensor",
            found=name,
            expected=f"{len(specs)} tensors",
        )
    return wire.decode_npy(
        array.data, dtype=spec.dtype, shape=spec.shape, what=f"reply: tensor {name!r}"
    )


def _plain_content(instruction: Instruction, model: VerifiedModel) -> RecordDict:
    """Return what the app would have received from any other strategy."""
    return RecordDict(
        {
            instruction.arrays_name: ArrayRecord(dict(model.arrays)),
            instruction.config_name: instruction.config,
        }
    )


def _check_rule(instruction: Instruction, participant: Participant) -> None:
    wanted = participant.rule_hash
    if wanted is not None and instruction.rule_hash != wanted:
        raise InstructionRefusedError(
            "wrong-rule",
            f"round {instruction.round_id} runs under rule {instruction.rule_hash.hex()}, this "
            f"client takes part under {wanted.hex()} only",
        )


def _decline(message: Message, code: str, error: FedproofError) -> Message:
    _log.warning("declined (%s): %s", code, error)
    reason = f"{wire.CLIENT_REFUSAL_PREFIX}{code}: {error}"
    return Message(Error(_MOD_FAILED_PRECONDITION, reason), reply_to=message)
