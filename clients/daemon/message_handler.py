"""Answers the participant's Flower messages, the same each time a message is repeated.

A train message is answered from disk if this round was answered before; otherwise limits and chain
are checked, the application trains, ``VerifiableUpdates`` signs, and the reply is on disk before it
is returned (ADR 95). A presence query is answered with a signature that binds Flower's node to the
account.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

# isort: split
from flwr.app import ConfigRecord, Context, Error, Message, MessageType, RecordDict

from clients.daemon.agreed_config import AgreedConfig
from clients.daemon.contexts import Contexts
from clients.daemon.history import HistoryLostError
from clients.daemon.received import ReceivedModels
from clients.daemon.relay import pack_reply
from clients.daemon.replies import ReplyStore, StoredReply
from clients.mod.instruction import InstructionRefusedError, read_instruction
from clients.mod.instruction_check import check_instruction
from clients.mod.journal import FileJournal
from clients.mod.verifiable_updates import ClientAppCallable, Participant, VerifiableUpdates
from coordinator.local.logs import fields
from coordinator.protocol import wire
from coordinator.protocol.errors import ChainUnavailableError, ContributorError, FedproofError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, Presence, RoundId
from coordinator.settings.participant import DataUse

PRESENCE_S: Final = 24 * 3600
"""Seconds of chain time that a presence statement is valid."""
_PRECONDITION_FAILED: Final = 6  # of Flower's error codes
_APP_FAILED: Final = 3  # of Flower's error codes: the ClientApp raised
_log = logging.getLogger(__name__)


class ChainGuard(Protocol):
    """A check that the chain has not lost blocks."""

    def check(self) -> int:
        """Return the latest block's number, or raise ``HistoryLostError``."""

    def now(self) -> int:
        """Return chain time in seconds."""


@dataclass
class Progress:
    """Counts of the answers since the start, for status and ``--once``."""

    trained: int = 0
    repeated: int = 0
    refused: int = 0
    last_asked: RoundId | None = None
    last_round: RoundId | None = None
    last_refusal: str = ""
    rounds: set[RoundId] = field(default_factory=set)

    def answered(self, round_id: RoundId) -> None:
        """Note that an update of a round was answered, and may have been sent."""
        self.last_round = round_id
        self.rounds.add(round_id)


class MessageHandler:
    """Answers one message at a time; presence queries are answered even during training.

    Parameters
    ----------
    participant
        The signer, and its view of the chain.
    app
        The application, with its own mods.
    replies, journal
        The replies and updates signed before.
    guard
        Checks the chain before each answer.
    limits
        The participant's own limits on the use of its data.
    contexts
        The application's context.
    received
        Keeps the base models of rounds, once they were checked against the chain.
    config
        What the federation agreed to tell applications.
    """

    def __init__(
        self,
        participant: Participant,
        app: ClientAppCallable,
        replies: ReplyStore,
        journal: FileJournal,
        guard: ChainGuard,
        limits: DataUse,
        contexts: Contexts,
        received: ReceivedModels | None = None,
        config: AgreedConfig | None = None,
    ) -> None:
        self._participant = participant
        self._app = app
        self._replies = replies
        self._journal = journal
        self._guard = guard
        self._limits = limits
        self._contexts = contexts
        self._received = received
        self._config = config or AgreedConfig({})
        self._sign = VerifiableUpdates(participant)
        self._one = threading.Lock()
        self.progress = Progress()

    @property
    def address(self) -> Address:
        """The participant's account."""
        return self._participant.signer.address

    @property
    def is_training(self) -> bool:
        """Whether the application is training."""
        return self._one.locked()

    def answer(self, message: Message, run_config: Mapping[str, Any]) -> StoredReply:
        """Return the packed reply to a message; every failure is an error reply with a code."""
        try:
            return self._answer(message, run_config)
        except (InstructionRefusedError, ContributorError, HistoryLostError) as error:
            return self._refusal(message, error.code, error)
        except ChainUnavailableError as error:
            return self._refusal(message, wire.CHAIN_UNAVAILABLE, error)
        except FedproofError as error:
            return self._refusal(message, "client-failure", error)
        except Exception as error:  # the application may raise anything
            # Only the error's class is sent: its text may contain private data.
            _log.exception("the application failed")
            return self._failed(message, _APP_FAILED, f"application: {type(error).__name__}")

    def _answer(self, message: Message, run_config: Mapping[str, Any]) -> StoredReply:
        self._guard.check()
        kind = message.metadata.message_type.split(".")[0]
        if kind == MessageType.QUERY and wire.HELLO in message.content.config_records:
            return _packed(self._hello(message))
        if kind == MessageType.EVALUATE:
            self._check_evaluation(message)
        with self._one:
            if kind == MessageType.TRAIN:
                return self._train(message, run_config)
            round_id = None
            if kind == MessageType.EVALUATE:
                round_id = read_instruction(message.content).round_id
            return _packed(self._run(message, run_config, round_id))

    def _hello(self, message: Message) -> Message:
        statement = Presence(message.metadata.dst_node_id, self._guard.now() + PRESENCE_S)
        domain = self._participant.chain_view.domain
        signed = self._participant.signer.sign_statement(domain, statement)
        record = ConfigRecord(
            {
                "version": wire.WIRE_VERSION,
                "account": signed.signer,
                "expiry": statement.expiry,
                "signature": signed.signature.hex(),
            }
        )
        return Message(RecordDict({wire.HELLO: record}), reply_to=message)

    def _train(self, message: Message, run_config: Mapping[str, Any]) -> StoredReply:
        instruction = read_instruction(message.content)
        round_id, base = instruction.round_id, instruction.base_model
        self.progress.last_asked = round_id
        # Before it is answered again: a second, different instruction may have the same model.
        check_instruction(instruction, self._participant, training=True)
        kept = self._replies.find(round_id, base)
        if kept is not None:
            _log.info("answered again, as before", extra=fields(round=round_id))
            self.progress.repeated += 1
            self.progress.answered(round_id)
            return kept
        self._check_rounds(round_id)
        self._check_deadline(round_id)
        reply = self._run(message, run_config, round_id)
        packed = _packed(reply)
        if reply.has_error():
            reason = reply.error.reason or ""
            # The mod logs its own refusals; an application's error reply is logged here.
            self._note_refusal(reason, is_logged=reason.startswith(wire.CLIENT_REFUSAL_PREFIX))
            return packed
        self._config.trained(round_id)
        self._replies.put(round_id, base, packed)
        self.progress.trained += 1
        self.progress.answered(round_id)
        if self._received is not None:
            self._received.keep(base, instruction.model_bytes)
        _log.info("trained and signed", extra=fields(round=round_id))
        return packed

    def _run(
        self, message: Message, run_config: Mapping[str, Any], round_id: RoundId | None
    ) -> Message:
        """Run the application, and keep its state if it succeeds.

        ``round_id`` is the instruction's, ``None`` for a query.
        """
        context = self._contexts.context(message, run_config)
        try:
            reply = self._sign(message, context, partial(self._run_app, round_id))
        except Exception:
            self._contexts.discard()
            raise
        if reply.has_error():
            self._contexts.discard()
        else:
            self._contexts.keep(context)
        return reply

    def _run_app(self, round_id: RoundId | None, message: Message, context: Context) -> Message:
        """Run the application in a round that was compared with the chain.

        It is told that round and the agreed config, whatever the message said. What it returns is
        refused if it used more examples than allowed.
        """
        self._config.hand_over(message, context, round_id)
        reply = self._app(message, context)
        most = self._limits.max_examples
        if most and not reply.has_error():
            for record in reply.content.metric_records.values():
                used = record.get(wire.EXAMPLES_METRIC, 0)
                if isinstance(used, int) and used > most:
                    raise InstructionRefusedError(
                        "limit-reached",
                        f"the application used {used} examples, limits.max_examples = {most}",
                    )
        return reply

    def _check_evaluation(self, message: Message) -> None:
        """Refuse to evaluate, or to use the data for another round than those allowed."""
        if not self._limits.evaluate:
            raise InstructionRefusedError(
                "limit-reached", "this participant evaluates no model: limits.evaluate = false"
            )
        round_id = read_instruction(message.content).round_id
        if round_id not in self._replies.rounds():
            self._check_rounds(round_id)

    def _check_rounds(self, round_id: RoundId) -> None:
        most = self._limits.rounds
        used = self._journal.count(self._participant.chain_view.domain, self.address) if most else 0
        if most and used >= most:
            raise InstructionRefusedError(
                "limit-reached",
                f"round {round_id}: this data was used in {used} rounds, limits.rounds = {most}",
            )

    def _check_deadline(self, round_id: RoundId) -> None:
        """Refuse a round past its deadline: it stays open on chain until a transaction ends it."""
        facts = self._participant.chain_view.round(round_id)
        now = self._guard.now()
        if facts.status is RoundStatus.OPEN and now >= facts.deadline:
            raise InstructionRefusedError(
                "round-not-open",
                f"round {round_id} ended {now - facts.deadline} s ago (chain time)",
            )

    def _refusal(self, message: Message, code: str, error: FedproofError) -> StoredReply:
        reason = f"{wire.CLIENT_REFUSAL_PREFIX}{code}: {error}"
        return self._failed(message, _PRECONDITION_FAILED, reason)

    def _failed(self, message: Message, code: int, reason: str) -> StoredReply:
        self._note_refusal(reason)
        return _packed(Message(Error(code, reason), reply_to=message))

    def _note_refusal(self, reason: str, *, is_logged: bool = False) -> None:
        if not is_logged:
            _log.warning("declined", extra=fields(reason=reason))
        self.progress.refused += 1
        self.progress.last_refusal = reason


def _packed(reply: Message) -> StoredReply:
    return StoredReply(*pack_reply(reply))
