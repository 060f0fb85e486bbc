"""The phases of a round as Flower's ``Strategy`` names them; the loop is elsewhere.

Replies are taken one by one as they come. A reply can be refused; it cannot end a round, move
the model or stop the run.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from coordinator.adapters.flower_records import (
    ModelLayout,
    instruction_records,
    model_arrays,
    read_metrics,
    read_submission,
    vector_array,
)
from coordinator.adapters.flower_replies import Addressed, check_reply, refusal
from coordinator.adapters.flower_sampling import NodeSampling
from coordinator.adapters.flower_sealed import NOT_COMMITTED, gather_commitments, reveal_queries
from coordinator.adapters.flower_statements import read_salt
from coordinator.core.errors import ContributorError, PhaseError
from coordinator.core.types import JsonObject
from coordinator.ports import RoundAnnouncement, RoundDriver, RoundOutcome

_log = logging.getLogger(__name__)

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]
RoundConfigFn = Callable[[RoundAnnouncement], Mapping[str, ConfigRecordValues]]


@dataclass(frozen=True)
class PhaseSettings:
    """How the phases sample nodes, name records and average metrics."""

    train_sampling: NodeSampling
    evaluate_sampling: NodeSampling
    arrayrecord_key: str
    configrecord_key: str
    weighted_by_key: str
    train_metrics_aggr_fn: MetricsFn
    evaluate_metrics_aggr_fn: MetricsFn
    round_config: RoundConfigFn | None


class RoundPhases(Strategy):
    """Configures and aggregates, with the round service behind it.

    A sealed round has one phase more: the messages of :meth:`configure_train` are answered with
    commitments, and :meth:`configure_reveal` asks for the updates, once those are on chain.
    ``outcome`` is how the last round ended.
    """

    def __init__(self, service: RoundDriver, settings: PhaseSettings) -> None:
        self.service = service
        self.settings = settings
        self.outcome: RoundOutcome | None = None
        self._announcement: RoundAnnouncement | None = None
        self._layout: ModelLayout | None = None
        self._sent: list[Message] = []

    # --- training ------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Open the round and announce it to the cohort; ``arrays`` give names only.

        The integers that are sent are the ledger's, not a copy that went through floats.
        """
        if self._layout is None:
            self._layout = ModelLayout.of(arrays)
        announcement = self._announcement = self.service.open_round()
        self._layout.require_manifest(announcement.manifest)
        nodes = self.settings.train_sampling.sample(grid, announcement.round_id)
        config["server-round"] = server_round
        if self.settings.round_config is not None:
            config.update(self.settings.round_config(announcement))
        self._sent = self._messages(announcement, config, nodes, MessageType.TRAIN)
        return self._sent

    def configure_reveal(self, replies: Iterable[Message]) -> list[Message]:
        """Take the commitments of a sealed round, fix them on chain, and ask to reveal.

        Parameters
        ----------
        replies
            To the messages of :meth:`configure_train`. Not asked for in a round whose commitments
            were on chain before a crash: then every node of the cohort is asked to reveal.

        Returns
        -------
        The queries; none if too few committed, and the round is void.
        """
        announcement = self._require_announcement()
        commitments = announcement.commitments
        if commitments is None:
            nodes = gather_commitments(self.service, self._sent, replies)
            commitments = self.service.close_commitments()
        else:
            nodes = [message.metadata.dst_node_id for message in self._sent]
        self._sent = []
        if commitments is not None:
            self._sent = reveal_queries(announcement, commitments, nodes)
        return self._sent

    def aggregate_train(
        self,
        server_round: int,
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Offer every reply to the service as it comes, then close the round."""
        announcement = self._require_announcement()
        kind = MessageType.QUERY if announcement.sealed else MessageType.TRAIN
        addressed: Addressed | None = None
        answered: set[str] = set()
        for reply in replies:
            # a grid that streams sends the messages when its first reply is asked for
            addressed = addressed or Addressed.of(self._sent, kind)
            answered.add(reply.metadata.reply_to_message_id)
            self._offer(reply, addressed, announcement)
        addressed = addressed or Addressed.of(self._sent, kind)
        for sender in addressed.unanswered(answered):
            self.service.refuse(sender, refusal("no-reply", "nothing came before the timeout"))
        outcome = self.outcome = self.service.close_round()
        if outcome.status == "void":
            _log.warning("round %d is void: %s", outcome.round_id, outcome.reason)
            return None, None
        arrays = self._current_arrays()
        metrics = [outcome.metrics[who] for who in outcome.accepted]
        return arrays, self.settings.train_metrics_aggr_fn(
            _as_records(metrics), self.settings.weighted_by_key
        )

    def _offer(self, reply: Message, addressed: Addressed, announcement: RoundAnnouncement) -> None:
        sender = addressed.sender(reply)
        try:
            content = check_reply(reply, addressed)
            submission = read_submission(content, announcement.manifest.dimension)
            salt = read_salt(content) if announcement.sealed else None
        except ContributorError as error:
            _log.info("round %d: refused %s: %s", announcement.round_id, sender, error)
            if not (announcement.sealed and error.code == NOT_COMMITTED):
                self.service.refuse(sender, error)
            return
        try:
            self.service.submit(submission.signed, submission.vector, submission.metrics, salt)
        except ContributorError as error:  # the service has it on record
            _log.info("round %d: refused %s: %s", announcement.round_id, sender, error)

    # --- evaluation ----------------------------------------------------------------------------

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> Iterable[Message]:
        """Send the model the round ended with to a sample of the nodes."""
        if self.settings.evaluate_sampling.fraction == 0.0 or self.outcome is None:
            self._sent = []
            return []
        outcome = self.outcome
        announcement = replace(
            self._require_announcement(), model=outcome.model, model_root=outcome.model_root
        )
        nodes = self.settings.evaluate_sampling.sample(grid, outcome.round_id)
        config["server-round"] = server_round
        self._sent = self._messages(announcement, config, nodes, MessageType.EVALUATE)
        return self._sent

    def aggregate_evaluate(
        self,
        server_round: int,
        replies: Iterable[Message],
    ) -> MetricRecord | None:
        """Average the metrics of the replies that can be read; they decide nothing."""
        accepted: dict[str, JsonObject] = {}
        addressed: Addressed | None = None
        for reply in replies:
            addressed = addressed or Addressed.of(self._sent, MessageType.EVALUATE)
            sender = addressed.sender(reply)
            try:
                accepted.setdefault(sender, read_metrics(check_reply(reply, addressed)))
            except ContributorError as error:
                _log.info("evaluation: ignored %s: %s", sender, error)
        if not accepted:
            return None
        in_order = [accepted[sender] for sender in sorted(accepted)]
        return self.settings.evaluate_metrics_aggr_fn(
            _as_records(in_order), self.settings.weighted_by_key
        )

    def _current_arrays(self) -> ArrayRecord:
        outcome, announcement = self._require_outcome(), self._require_announcement()
        return model_arrays(outcome.model, announcement.manifest, self._require_layout())

    def _messages(
        self,
        announcement: RoundAnnouncement,
        config: ConfigRecord,
        nodes: list[int],
        message_type: str,
    ) -> list[Message]:
        content = instruction_records(
            announcement,
            vector_array(announcement.model),
            self._require_layout(),
            config,
            arrays_key=self.settings.arrayrecord_key,
            config_key=self.settings.configrecord_key,
        )
        group = str(announcement.round_id)
        return [Message(content, node_id, message_type, group_id=group) for node_id in nodes]

    def _require_announcement(self) -> RoundAnnouncement:
        if self._announcement is None:
            raise PhaseError("no round is open: configure_train comes first")
        return self._announcement

    def _require_outcome(self) -> RoundOutcome:
        if self.outcome is None:
            raise PhaseError("no round was closed: aggregate_train comes first")
        return self.outcome

    def _require_layout(self) -> ModelLayout:
        if self._layout is None:
            raise PhaseError("the model's layout is not known: configure_train comes first")
        return self._layout


def _as_records(metrics: Sequence[JsonObject]) -> list[RecordDict]:
    return [RecordDict({"metrics": MetricRecord(dict(values))}) for values in metrics]
