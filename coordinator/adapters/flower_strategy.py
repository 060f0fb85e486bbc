"""The Flower ``Strategy`` that drives Fedproof rounds: swap it in, keep the ``ServerApp``.

It announces the open round, takes replies one by one as they come, and leaves screening, exact
aggregation, commitment and payment to the round service. A reply can be refused; it cannot end a
round, move the model or stop the run. Not handled: where the ledger lives, and which rule
aggregates (``coordinator.service``).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Message,
    MetricRecord,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from coordinator.adapters.flower_metrics import weighted_means
from coordinator.adapters.flower_phases import (
    MetricsFn,
    PhaseSettings,
    RoundConfigFn,
    RoundPhases,
)
from coordinator.adapters.flower_records import ModelLayout
from coordinator.adapters.flower_sampling import NodeSampling, Sampler
from coordinator.ports import RoundDriver, RoundOutcome

_log = logging.getLogger(__name__)

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class RoundReport:
    """One round as the strategy saw it, for progress bars and logs."""

    server_round: int
    outcome: RoundOutcome
    train_metrics: MetricRecord | None
    evaluate_metrics: MetricRecord | None
    server_metrics: MetricRecord | None


class FedproofStrategy(RoundPhases):
    """Federated training whose every round is signed, committed and paid.

    Parameters
    ----------
    service
        Opens, screens, seals and settles rounds; usually ``coordinator.service.RoundService``.
    fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes, min_available_nodes
        As in Flower's ``FedAvg``.
    seed
        Of the cohort: the same seed, round and nodes give the same cohort.
    sampler
        Picks a round's cohort instead, from the connected nodes in ascending order.
    completed_rounds
        How many rounds of this run the ledger already holds: training goes on with the next.
    wait_for_nodes_s
        How long to wait for ``min_available_nodes``; then the round goes on with those there
        are, and the rule decides whether they are enough.
    examples_cap
        A contributor counts for at most this many examples in averaged *metrics*. (The rule has
        its own cap for the model.)
    train_metrics_aggr_fn, evaluate_metrics_aggr_fn
        As in ``FedAvg``; called with replies that were accepted.
    round_config
        Adds to a round's train config what is only known once the round is open.
    on_round
        Told of every round when it is over.
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
        _log.info("train: %s", self.settings.train_sampling)
        _log.info("evaluate: %s", self.settings.evaluate_sampling)
        _log.info("rounds on the ledger: %d", self.completed_rounds)

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
            The model the federation agreed on; of a resumed run only names and shapes are used.
        timeout
            Seconds to wait for the replies of a phase; a sealed round collects in two.

        Raises
        ------
        ConfigError
            If ``initial_arrays`` is not the agreed model, or has other tensors.
        """
        self.summary()
        self._layout = ModelLayout.of(initial_arrays)
        train_config, evaluate_config = (
            train_config or ConfigRecord(),
            evaluate_config or ConfigRecord(),
        )
        result = Result(arrays=initial_arrays)
        if evaluate_fn and not self.completed_rounds:
            _keep(result.evaluate_metrics_serverapp, 0, evaluate_fn(0, initial_arrays))
        for server_round in range(self.completed_rounds + 1, num_rounds + 1):
            report = self._run_round(
                grid, server_round, result, timeout, train_config, evaluate_config, evaluate_fn
            )
            if self.on_round is not None:
                self.on_round(report)
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
        if server_round == 1:
            self._require_layout().require_model(announced.model_root, announced.manifest)
        if announced.sealed:
            asked = [] if announced.commitments is not None else messages
            messages = self.configure_reveal(_replies(grid, asked, timeout))
        replies = _replies(grid, messages, timeout)
        arrays, train_metrics = self.aggregate_train(server_round, replies)
        result.arrays = self._current_arrays() if arrays is None else arrays
        _keep(result.train_metrics_clientapp, server_round, train_metrics)
        messages = list(self.configure_evaluate(server_round, result.arrays, evaluate_config, grid))
        replies = _replies(grid, messages, timeout)
        metrics = self.aggregate_evaluate(server_round, replies)
        _keep(result.evaluate_metrics_clientapp, server_round, metrics)
        own = evaluate_fn(server_round, result.arrays) if evaluate_fn else None
        _keep(result.evaluate_metrics_serverapp, server_round, own)
        return RoundReport(server_round, self._require_outcome(), train_metrics, metrics, own)


def _replies(grid: Grid, messages: list[Message], timeout: float) -> Iterable[Message]:
    return grid.send_and_receive(messages, timeout=timeout) if messages else []


def _keep(history: dict[int, MetricRecord], server_round: int, record: MetricRecord | None) -> None:
    if record is not None:
        history[server_round] = record
