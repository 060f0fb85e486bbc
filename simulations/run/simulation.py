"""Runs an experiment: Flower clients in worker processes, a durable chain, one folder.

After ``kill -9`` at any instant, the same call resumes from the last acknowledged round and ends
with the same roots and block hashes: every step reads chain and store and does only what is
missing.
"""

import time
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

# isort: split
from flwr.app import ArrayRecord

from coordinator.flower.strategy import RoundReport, ServiceStrategy
from coordinator.ports import RoundAnnouncement
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.types import RoundId
from coordinator.stores.run_folder import FileJournal, RunFolder
from simulations.data import load_dataset
from simulations.experiment.schema import Experiment
from simulations.report.markdown import write_report
from simulations.report.progress import Listener, Silence
from simulations.run.agreement import Agreement, agree, try_own_code
from simulations.run.client_app import FACTORY
from simulations.run.cohort import cohort_sampler, node_configs, public_updates
from simulations.run.coordinator import (
    RunStores,
    artifact_store,
    attacker_of,
    public_store,
    publish,
    round_service,
)
from simulations.run.disputes import SimulatedDisputes, bond_again, say_notices
from simulations.run.experiment_grid import experiment_grid
from simulations.run.experiment_records import experiment_recorder
from simulations.run.files import held_folder, run_chain
from simulations.run.result import Run, RunOptions, finished
from simulations.run.run_records import RunRecords

__all__ = ["Run", "RunOptions", "run_experiment"]

_BOND_TOO_LOW = "stake: coordinator bond too low"
_ROUND_TIMEOUT_S = 86_400.0


def run_experiment(
    experiment: Experiment,
    out: Path,
    options: RunOptions | None = None,
    listener: Listener | None = None,
) -> Run:
    """Run an experiment into a folder, or resume the unfinished run in it.

    Raises
    ------
    ConfigError
        If the folder holds something else, or data or model do not fit the experiment.
    FedproofError
        If the chain, the store or the rule fails.
    """
    options, listener = options or RunOptions(), listener or Silence()
    folder = RunFolder(out)
    load = cache(partial(load_dataset, experiment.data, options.data_folder, experiment.seed))
    if options.fresh or not folder.config.exists():
        # Before any file is written or deleted, so that a wrong rule or path leaves no trace: its
        # folder would belong to another configuration than the mended one.
        try_own_code(experiment, load)
        agree(experiment, load())
    with held_folder(folder, experiment, fresh=options.fresh, extend=options.extend) as founded:
        if folder.is_complete:
            run = finished(folder)
            if founded is experiment or len(run.rounds) >= experiment.rounds:
                return run
            folder.reopen()
        with ExitStack() as stack:
            agreement = agree(experiment, load())
            simulation = Simulation(
                experiment, founded, agreement, folder, stack, options, listener
            )
            resumed_from = simulation.completed_rounds
            simulation.train()
            simulation.conclude()
        write_report(folder)
        folder.write_checksums()
        return finished(folder, resumed_from=resumed_from)


class Simulation:
    """One run in progress: chain, store and service opened on its folder.

    ``founded`` is what the contract was deployed with: the experiment, or one of fewer rounds.
    """

    def __init__(
        self,
        experiment: Experiment,
        founded: Experiment,
        agreement: Agreement,
        folder: RunFolder,
        stack: ExitStack,
        options: RunOptions,
        listener: Listener,
    ) -> None:
        self.experiment, self.agreement, self.folder = experiment, agreement, folder
        self.is_extended = founded is not experiment
        self.options, self.listener = options, listener
        self.store = artifact_store(experiment, folder)
        self.store.discard_leftovers()  # safe: the folder is locked
        stack.callback(self.store.close)
        root = publish(self.store, agreement)
        self.chain = stack.enter_context(run_chain(founded, folder, root))
        self.journal = FileJournal(folder.root / "rounds")
        self.attempts = FileJournal(folder.root / "attempts")
        self.nodes = node_configs(experiment)
        self.feed = RoundFeed()
        self.feed.subscribe(listener.observe)
        self.attacker = attacker_of(experiment, self.chain.identities)
        self.service = round_service(
            experiment,
            agreement,
            self.chain,
            RunStores(self.store, self.journal, self.attempts),
            self.attacker,
            self.feed,
        )
        self.disputes = self._disputes(stack)
        self.service.catch_up()
        recorder = experiment_recorder(
            experiment, agreement, self.chain, self.store, self.journal, self.nodes
        )
        self.records = RunRecords(
            folder, self.chain, self.store, self.attempts, recorder, self.feed
        )

    @property
    def completed_rounds(self) -> int:
        """Number of rounds that the ledger has decided."""
        return self.service.completed_rounds

    @property
    def _pending(self) -> Path:
        """The contributors' folder of committed and unrevealed updates, during the run."""
        return self.folder.root / "pending"

    def train(self) -> None:
        """Run the rounds that are missing, unless the coordinator's bond runs out."""
        if self.completed_rounds:
            self._settle_disputes()  # a crash may have come before the watcher's check
            self.records.publish_missed()
        missing = self.experiment.rounds - self.completed_rounds
        if missing <= 0:
            return
        if self.is_extended:
            self.chain.fund_rounds(missing, self.experiment.rewards.round_budget_wei)
        try:
            self._train()
        except TransactionRevertedError as refused:
            if refused.reason != _BOND_TOO_LOW:
                raise
            number = self.completed_rounds + 1
            note = {"round": number, "attack": "open_round", "refused": refused.reason}
            self.attempts.put(RoundId(number), note)
            self.listener.say(
                f"round {number} cannot open: {refused.reason}; this coordinator is stopped"
            )

    def _train(self) -> None:
        with experiment_grid(
            FACTORY,
            self.experiment,
            self.nodes,
            self.options,
            self.chain.ledger,
            artifacts=self.folder.blobs,
            pending=self._pending,
            wait=self._wait_since_opening,
        ) as grid:
            self._clock = time.monotonic()
            strategy = ServiceStrategy(
                self.service,
                fraction_evaluate=0.0,
                min_train_nodes=1,
                min_available_nodes=1,
                sampler=cohort_sampler(self.experiment, self.nodes),
                completed_rounds=self.completed_rounds,
                round_config=self._public_updates,
                on_round=self._round_over,
            )
            initial = ArrayRecord(self.agreement.initial_state)
            strategy.start(
                grid, initial, num_rounds=self.experiment.rounds, timeout=_ROUND_TIMEOUT_S
            )

    def conclude(self) -> None:
        """Finalise, pay out, and write the run's records."""
        self.disputes.run_watchers_at_end()
        self.records.conclude()
        self.listener.say("all rounds final, rewards claimed")

    def _wait_since_opening(self, seconds: int) -> None:
        """Advance chain time to ``seconds`` after the opening of the round in progress."""
        round_id = self.chain.ledger.head().last_opened
        self.chain.wait_until(self.chain.ledger.round(round_id).opened_at + seconds)

    # --- callbacks of the strategy -----------------------------------------------------------

    def _public_updates(self, announcement: RoundAnnouncement) -> dict[str, str]:
        return public_updates(
            announcement, self.chain.ledger, self.store, self.chain.identities.addresses
        )

    def _round_over(self, report: RoundReport) -> None:
        self._settle_disputes()
        now = time.monotonic()
        self.records.append(report.outcome.round_id, now - self._clock)
        self._clock = now

    def _settle_disputes(self) -> None:
        """Let watchers check the newest round; a slashed coordinator may bond again."""
        self.disputes.run_watchers()
        bond_again(self.chain, self.experiment.stake, self.listener.say)

    # --- set-up ----------------------------------------------------------------------------------

    def _disputes(self, stack: ExitStack) -> SimulatedDisputes:
        public = public_store(self.folder)
        stack.callback(public.close)
        pace_s = 0.0
        if self.options.rpc_port is not None:
            url = stack.enter_context(self.chain.serve(self.options.rpc_port))
            self.listener.say(f"chain     {url}, contract {self.chain.federation.address}")
            pace_s = self.options.pace_s
        section = self.experiment.watcher
        on_notice = say_notices(self.listener.say)
        return SimulatedDisputes(self.chain, public, section, self.attacker, on_notice, pace_s)
