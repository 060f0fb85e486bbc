"""The Flower ``Strategy`` that drives Fedproof rounds, for use in any ``ServerApp``.

It announces the open round, takes replies one by one as they arrive, and leaves screening, exact
aggregation, commitment and payment to the round service. A wrong reply is refused; it cannot end a
round, change the model or stop the run. Not handled: the ledger, and the aggregation rule
(``coordinator.service``).
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

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
from flwr.serverapp.strategy import Result, Strategy

from coordinator.flower.metrics import weighted_means
from coordinator.flower.records import (
    ModelLayout,
    instruction_content,
    instruction_records,
    model_arrays,
    read_metrics,
    read_salt,
    read_submission,
    vector_array,
)
from coordinator.flower.replies import Recipients, check_reply, refusal
from coordinator.flower.sampling import NodeSampling, Sampler
from coordinator.flower.sealed import NOT_COMMITTED, gather_commitments, reveal_queries
from coordinator.ports import KnowsNextModel, RoundAnnouncement, RoundDriver, RoundOutcome
from coordinator.protocol.errors import ContributorError, PhaseError
from coordinator.protocol.instructions import EVALUATE, TRAIN
from coordinator.protocol.types import JsonObject
from coordinator.protocol.wire import SERVER_ROUND

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
    """The phases of a round as a Flower strategy, carried out by the round service.

    A sealed round has one more phase: the messages of :meth:`configure_train` are answered with
    commitments, and :meth:`configure_reveal` asks for the updates once those are on chain.
    ``outcome`` is the last round's, ``sealed_rounds`` counts the rounds of this run that have a
    result. ``log`` gets what Flower's own strategies log.
    """

    log = logging.getLogger(__name__)

    def __init__(self, service: RoundDriver, settings: PhaseSettings) -> None:
        self.service = service
        self.settings = settings
        self.outcome: RoundOutcome | None = None
        self.sealed_rounds = 0
        self._announcement: RoundAnnouncement | None = None
        self._layout: ModelLayout | None = None
        self._sent: list[Message] = []

    # --- training ------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Open the round and announce it to the cohort; only the names of ``arrays`` are used.

        The model sent is the ledger's integer vector, not a copy converted through floats. The
        messages are signed, and the same for everybody: what is changed in one afterwards is
        refused by whoever gets it, so ``config`` is to be changed before.
        """
        if self._layout is None:
            self._layout = ModelLayout.of(arrays)
        self._check_model(server_round, self._layout)
        announcement = self._announcement = self.service.open_round()
        self._layout.require_manifest(announcement.manifest)
        nodes = self.settings.train_sampling.sample(grid, announcement.round_id)
        self.log.info("configure_train: Sampled %d nodes", len(nodes))
        config[SERVER_ROUND] = server_round
        if self.settings.round_config is not None:
            config.update(self.settings.round_config(announcement))
        self._sent = self._messages(announcement, config, nodes, MessageType.TRAIN)
        return self._sent

    def _check_model(self, server_round: int, layout: ModelLayout) -> None:
        """Refuse other arrays than those agreed on, before anything is opened on chain."""
        if isinstance(self.service, KnowsNextModel):
            manifest, root = self.service.next_model()
            layout.require_manifest(manifest)
            if server_round == 1:
                layout.require_model(root, manifest)

    def configure_reveal(self, replies: Iterable[Message]) -> list[Message]:
        """Put the commitments of a sealed round on chain, and ask for the updates.

        Parameters
        ----------
        replies
            To the messages of :meth:`configure_train`. Not read in a round whose commitments were
            on chain before a crash: then every node of the cohort is asked to reveal.

        Returns
        -------
        The queries; none if too few committed and the round is void.
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
            self._sent = reveal_queries(self.service, announcement, commitments, nodes)
        return self._sent

    def aggregate_train(
        self,
        server_round: int,
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Offer every reply to the service as it arrives, then close the round."""
        announcement = self._require_announcement()
        kind = MessageType.QUERY if announcement.sealed else MessageType.TRAIN
        recipients: Recipients | None = None
        answered: set[str] = set()
        for reply in replies:
            # A streaming grid sends the messages only when its first reply is requested.
            recipients = recipients or Recipients.of(self._sent, kind)
            answered.add(reply.metadata.reply_to_message_id)
            self._offer(reply, recipients, announcement)
        recipients = recipients or Recipients.of(self._sent, kind)
        for sender in recipients.unanswered(answered):
            self.service.refuse(sender, refusal("no-reply", "nothing came before the timeout"))
        outcome = self.outcome = self.service.close_round()
        self.log.info(
            "aggregate_train: Accepted %d updates and refused %d",
            len(outcome.accepted),
            len(outcome.refusals),
        )
        for refused in outcome.refusals:
            self.log.info("\t> Refused %s: %s", refused.sender, refused.message)
        if outcome.status == "void":
            self.log.warning("round %d is void: %s", outcome.round_id, outcome.reason)
            return None, None
        self.sealed_rounds += 1
        arrays = self._current_arrays()
        metrics = [outcome.metrics[address] for address in outcome.accepted]
        return arrays, self.settings.train_metrics_aggr_fn(
            _as_records(metrics), self.settings.weighted_by_key
        )

    def _offer(
        self, reply: Message, recipients: Recipients, announcement: RoundAnnouncement
    ) -> None:
        sender = recipients.sender(reply)
        try:
            content = check_reply(reply, recipients)
            submission = read_submission(content, announcement.manifest.dimension)
            salt = read_salt(content) if announcement.sealed else None
        except ContributorError as error:
            if not (announcement.sealed and error.code == NOT_COMMITTED):
                self.service.refuse(sender, error)
            return
        with suppress(ContributorError):  # recorded; logged when the round closes
            self.service.submit(submission.signed, submission.vector, submission.metrics, salt)

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
        config[SERVER_ROUND] = server_round
        self.log.info("configure_evaluate: Sampled %d nodes", len(nodes))
        self._sent = self._messages(announcement, config, nodes, MessageType.EVALUATE)
        return self._sent

    def aggregate_evaluate(
        self,
        server_round: int,
        replies: Iterable[Message],
    ) -> MetricRecord | None:
        """Average the metrics of all well-formed replies; they are informative only."""
        accepted: dict[str, JsonObject] = {}
        refused: dict[str, ContributorError] = {}
        recipients: Recipients | None = None
        for reply in replies:
            recipients = recipients or Recipients.of(self._sent, MessageType.EVALUATE)
            sender = recipients.sender(reply)
            try:
                accepted.setdefault(sender, read_metrics(check_reply(reply, recipients)))
            except ContributorError as error:
                refused[sender] = error
        if self._sent:
            self.log.info(
                "aggregate_evaluate: Accepted %d results and refused %d",
                len(accepted),
                len(refused),
            )
        for sender, refused_for in refused.items():
            self.log.info("\t> Refused %s: %s", sender, refused_for)
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
        layout = self._require_layout()
        told = instruction_content(
            layout,
            config,
            sealed=announcement.sealed,
            arrays_key=self.settings.arrayrecord_key,
            config_key=self.settings.configrecord_key,
        )
        phase = EVALUATE if message_type == MessageType.EVALUATE else TRAIN
        instruction = self.service.sign_instruction(announcement.round_id, phase, told)
        if instruction.content != told:
            self.log.warning(
                "round %d: another %s instruction was signed before, and is sent again: a changed "
                "config counts from the next round",
                announcement.round_id,
                phase,
            )
        content = instruction_records(
            announcement, vector_array(announcement.model), layout, instruction
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


EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class RoundReport:
    """One round's outcome and averaged metrics, for progress bars and logs."""

    server_round: int
    outcome: RoundOutcome
    train_metrics: MetricRecord | None
    evaluate_metrics: MetricRecord | None
    server_metrics: MetricRecord | None


class ServiceStrategy(RoundPhases):
    """Federated training whose every round is signed, committed and paid.

    Parameters
    ----------
    service
        Opens, screens, seals and settles rounds; usually ``coordinator.service.RoundService``.
    fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes, min_available_nodes
        As in Flower's ``FedAvg``.
    seed
        Seed of the sampling: the same seed, round and nodes give the same cohort.
    sampler
        Picks a round's cohort instead, from the connected nodes in ascending order.
    completed_rounds
        How many rounds of this run the ledger already holds: training goes on with the next.
    wait_for_nodes_s
        Seconds to wait for ``min_available_nodes``; then the round goes on with the connected
        ones, and the rule decides whether they are enough.
    examples_cap
        A contributor counts for at most this many examples in averaged *metrics*. (The rule has
        its own cap for the model.)
    train_metrics_aggr_fn, evaluate_metrics_aggr_fn
        As in ``FedAvg``; called with accepted replies only.
    round_config
        Returns entries for a round's train config that are known only once the round is open.
    on_round
        Called with the report of every finished round.
    """

    def __init__(
        self,
        service: RoundDriver,
        *,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int = 2,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int = 2,
        seed: int = 0,
        sampler: Sampler | None = None,
        completed_rounds: int = 0,
        wait_for_nodes_s: float = 300.0,
        examples_cap: int = 1_000_000,
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        weighted_by_key: str = "num-examples",
        train_metrics_aggr_fn: MetricsFn | None = None,
        evaluate_metrics_aggr_fn: MetricsFn | None = None,
        round_config: RoundConfigFn | None = None,
        on_round: Callable[[RoundReport], None] | None = None,
    ) -> None:
        default = weighted_means(examples_cap)
        settings = PhaseSettings(
            train_sampling=NodeSampling(
                "train",
                fraction_train,
                min_train_nodes if fraction_train else 0,
                min_available_nodes,
                wait_for_nodes_s,
                seed,
                sampler,
            ),
            evaluate_sampling=NodeSampling(
                "evaluate",
                fraction_evaluate,
                min_evaluate_nodes if fraction_evaluate else 0,
                min_available_nodes,
                wait_for_nodes_s,
                seed,
            ),
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            weighted_by_key=weighted_by_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn or default,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn or default,
            round_config=round_config,
        )
        super().__init__(service, settings)
        self.completed_rounds = completed_rounds
        self.on_round = on_round

    def summary(self) -> None:
        """Log how this strategy is set up."""
        for phase in (self.settings.train_sampling, self.settings.evaluate_sampling):
            self.log.info(
                "\t├── %s: fraction %.2f, at least %d nodes of %d available",
                phase.phase,
                phase.fraction,
                phase.minimum,
                phase.min_available,
            )
        self.log.info("\t└── Rounds on the ledger: %d", self.completed_rounds)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> Result:
        """Run the rounds that the ledger does not hold yet, up to ``num_rounds`` in all.

        Parameters
        ----------
        initial_arrays
            The model the federation agreed on; in a resumed run only names and shapes are used.
        timeout
            Seconds to wait for the replies of a phase; a sealed round has two such phases.

        Raises
        ------
        ConfigError
            If ``initial_arrays`` is not the agreed model, or has other tensors.
        """
        started = time.monotonic()
        self.log.info("Starting %s strategy:", type(self).__name__)
        self.log.info("\t├── Number of rounds: %d", num_rounds)
        self.summary()
        self._layout = ModelLayout.of(initial_arrays)
        train_config, evaluate_config = (
            train_config or ConfigRecord(),
            evaluate_config or ConfigRecord(),
        )
        result = Result(arrays=initial_arrays)
        if evaluate_fn and not self.completed_rounds:
            self._keep(result.evaluate_metrics_serverapp, 0, evaluate_fn(0, initial_arrays))
        for server_round in range(self.completed_rounds + 1, num_rounds + 1):
            self.log.info("")
            self.log.info("[ROUND %d/%d]", server_round, num_rounds)
            report = self._run_round(
                grid, server_round, result, timeout, train_config, evaluate_config, evaluate_fn
            )
            if self.on_round is not None:
                self.on_round(report)
        self.log.info("")
        self.log.info("Strategy execution finished in %.2fs", time.monotonic() - started)
        self.log.info("Final results:")
        for line in str(result).splitlines():
            self.log.info("\t%s", line)
        return result

    def _run_round(
        self,
        grid: Grid,
        server_round: int,
        result: Result,
        timeout: float,
        train_config: ConfigRecord,
        evaluate_config: ConfigRecord,
        evaluate_fn: EvaluateFn | None,
    ) -> RoundReport:
        messages = list(self.configure_train(server_round, result.arrays, train_config, grid))
        announced = self._require_announcement()
        if server_round == 1 and not isinstance(self.service, KnowsNextModel):
            self._require_layout().require_model(announced.model_root, announced.manifest)
        if announced.sealed:
            queries = [] if announced.commitments is not None else messages
            messages = self.configure_reveal(_replies(grid, queries, timeout))
        replies = _replies(grid, messages, timeout)
        arrays, train_metrics = self.aggregate_train(server_round, replies)
        result.arrays = self._current_arrays() if arrays is None else arrays
        self._keep(result.train_metrics_clientapp, server_round, train_metrics)
        messages = list(self.configure_evaluate(server_round, result.arrays, evaluate_config, grid))
        replies = _replies(grid, messages, timeout)
        metrics = self.aggregate_evaluate(server_round, replies)
        self._keep(result.evaluate_metrics_clientapp, server_round, metrics)
        if evaluate_fn:
            self.log.info("Global evaluation")
        own = evaluate_fn(server_round, result.arrays) if evaluate_fn else None
        self._keep(result.evaluate_metrics_serverapp, server_round, own)
        return RoundReport(server_round, self._require_outcome(), train_metrics, metrics, own)

    def _keep(
        self, history: dict[int, MetricRecord], server_round: int, record: MetricRecord | None
    ) -> None:
        if record is not None:
            self.log.info("\t└──> MetricRecord: %s", record)
            history[server_round] = record


def _replies(grid: Grid, messages: list[Message], timeout: float) -> Iterable[Message]:
    return grid.send_and_receive(messages, timeout=timeout) if messages else []
