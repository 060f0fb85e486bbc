"""Runs an experiment: real Flower clients in worker processes, a durable chain, one folder.

``kill -9`` at any instant and the same call again goes on from the last acknowledged round and
ends with the very same roots, down to the block hashes: every step asks chain and store what is
there and does only what is missing.
"""

import time
from contextlib import ExitStack
from pathlib import Path

# isort: split
from flwr.app import ArrayRecord

from clients.training.trainer import use_one_thread
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.audit.watch.findings import Notice
from coordinator.flower.strategy import RoundReport, ServiceStrategy
from coordinator.ports import RoundAnnouncement
from coordinator.protocol.amounts import ether
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.feed import FeedItem, RoundFeed
from coordinator.protocol.types import Address, RoundId, Wei
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal, RunFolder
from simulations.attacks.contributor import behaviour_name
from simulations.data import load_dataset
from simulations.engines.ledger_view import LedgerChainView
from simulations.engines.process import PoolGrid
from simulations.engines.spec import SimulationSpec
from simulations.experiment.models import build_model
from simulations.experiment.schema import Experiment
from simulations.report.markdown import write_report
from simulations.report.progress import Listener, Silence
from simulations.run.agreement import Agreement, agree
from simulations.run.client_app import FACTORY
from simulations.run.cohort import CLIENT, cohort_sampler, node_configs, public_updates
from simulations.run.coordinator import (
    RunStores,
    artifact_store,
    attacker_of,
    publish,
    round_service,
)
from simulations.run.disputes import SimulatedDisputes
from simulations.run.files import held_folder, run_chain
from simulations.run.result import Run, RunOptions, finished
from simulations.run.round_records import NODE_PREFIX, RoundRecorder, Tester, Trainer
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
    """Run an experiment into a folder, or go on with what is there.

    Raises
    ------
    ConfigError
        If the folder holds something else, or data or model do not fit the experiment.
    FedproofError
        Whatever chain, store or rule raise.
    """
    options, listener = options or RunOptions(), listener or Silence()
    folder = RunFolder(out)
    with held_folder(folder, experiment, fresh=options.fresh):
        if folder.is_complete:
            return finished(folder, resumed_from=experiment.rounds)
        dataset = load_dataset(experiment.data, options.data_folder, experiment.seed)
        with ExitStack() as stack:
            agreement = agree(experiment, dataset)
            simulation = Simulation(experiment, agreement, folder, stack, options, listener)
            resumed_from = simulation.completed_rounds
            simulation.train()
            simulation.conclude()
        write_report(folder)
        folder.write_checksums()
        return finished(folder, resumed_from=resumed_from)


class Simulation:
    """One run in progress: chain, store and service opened on its folder."""

    def __init__(
        self,
        experiment: Experiment,
        agreement: Agreement,
        folder: RunFolder,
        stack: ExitStack,
        options: RunOptions,
        listener: Listener,
    ) -> None:
        self.experiment, self.agreement, self.folder = experiment, agreement, folder
        self.options, self.listener = options, listener
        self.store = artifact_store(experiment, folder)
        self.store.discard_leftovers()  # the folder is locked: nobody else writes
        stack.callback(self.store.close)
        root = publish(self.store, agreement)
        self.chain = stack.enter_context(run_chain(experiment, folder, root))
        self.journal = FileJournal(folder.root / "rounds")
        self.attempts = FileJournal(folder.root / "attempts")
        self.nodes = node_configs(experiment)
        self.feed = RoundFeed()
        self.feed.subscribe(self._observe)
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
        self.round_recorder = self._round_recorder()
        self.records = RunRecords(
            folder, self.chain, self.store, self.attempts, self.round_recorder
        )

    @property
    def completed_rounds(self) -> int:
        """How many rounds the ledger has decided."""
        return self.service.completed_rounds

    @property
    def _pending(self) -> Path:
        """Where contributors keep what they have committed to, while the run goes on."""
        return self.folder.root / "pending"

    def train(self) -> None:
        """Run the rounds that are missing, unless the coordinator's bond runs out."""
        if self.completed_rounds:
            self._settle_disputes()  # a crash may have come between a round and its watcher
            self._tell_missed()
        if self.completed_rounds >= self.experiment.rounds:
            return
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
        options = self.options
        spec = SimulationSpec(
            self.experiment, options.data_folder, self.folder.blobs, self._pending
        )
        with PoolGrid(
            FACTORY,
            self.nodes,
            spec=spec,
            workers=options.workers,
            seed=self.experiment.seed,
            chain_view=LedgerChainView(self.chain.ledger),
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
        self.disputes.look_at_all()
        self.records.conclude()
        self.listener.say("all rounds final, rewards claimed")

    def _wait_since_opening(self, seconds: int) -> None:
        """Let chain time reach so many seconds after the opening of the round in progress."""
        round_id = self.chain.ledger.head().last_opened
        self.chain.wait_until(self.chain.ledger.round(round_id).opened_at + seconds)

    # --- what the strategy calls back --------------------------------------------------------

    def _public_updates(self, announcement: RoundAnnouncement) -> dict[str, str]:
        size = self.experiment.cohort.size
        self.listener.round_begins(int(announcement.round_id), size)
        return public_updates(
            announcement, self.chain.ledger, self.store, self.chain.identities.addresses
        )

    def _observe(self, item: FeedItem) -> None:
        if isinstance(item.event, machine.UpdateAccepted | machine.UpdateRefused):
            self.listener.update_decided()

    def _round_over(self, report: RoundReport) -> None:
        self._settle_disputes()
        now = time.monotonic()
        record = self.records.append(report.outcome.round_id, now - self._clock)
        self._clock = now
        self.listener.round_ends(record, self.round_recorder.reasons(report.outcome.round_id))

    def _tell_missed(self) -> None:
        """Show the rounds that a crash left sealed, and not on the screen."""
        for round_id in self.records.untold:
            record = self.round_recorder.round_record(round_id, 0.0)
            self.listener.round_ends(record, self.round_recorder.reasons(round_id))

    def _settle_disputes(self) -> None:
        """Let watchers look at what was sealed; a slashed coordinator may bond again."""
        self.disputes.look()
        stake, account = self.experiment.stake, self.chain.identities.coordinator
        bond = self.chain.federation.account(Address(account.address)).bond_wei
        if bond < stake.coordinator_minimum_wei and stake.coordinator_rebonds:
            missing = Wei(stake.coordinator_bond_wei - bond)
            self.chain.federation.bond_coordinator(account, missing)
            self.listener.say(f"the coordinator bonds {ether(missing)} again")

    def _say(self, notice: Notice) -> None:
        if notice.verb not in ("examined", "unprovable"):
            self.listener.say(f"watcher   {notice}")

    # --- set-up ----------------------------------------------------------------------------------

    def _disputes(self, stack: ExitStack) -> SimulatedDisputes:
        public = DiskStore(self.folder.blobs, read_only=True)
        stack.callback(public.close)
        pace_s = 0.0
        if self.options.rpc_port is not None:
            served = Dispatcher(self.chain.node, dev=False)
            stack.callback(served.close)
            handle = stack.enter_context(serve_in_thread(served, port=self.options.rpc_port))
            self.listener.say(f"chain     {handle.url}, contract {self.chain.federation.address}")
            pace_s = self.options.pace_s
        section = self.experiment.watcher
        return SimulatedDisputes(self.chain, public, section, self.attacker, self._say, pace_s)

    def _round_recorder(self) -> RoundRecorder:
        experiment, dataset = self.experiment, self.agreement.dataset
        use_one_thread()  # so that test figures repeat to the last bit
        model = build_model(
            experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed
        )
        tester = Tester(
            model,
            self.agreement.plan.manifest,
            dataset,
            self.store,
            every=experiment.evaluation.every,
            last=experiment.rounds,
            metrics=experiment.metrics,
        )
        shares = self.agreement.shares
        trainers = [
            Trainer(name, behaviour_name(experiment.behaviours, client), len(indices))
            for client, (name, indices) in enumerate(zip(shares.names, shares.indices, strict=True))
        ]
        senders: dict[str, int] = {a: i for i, a in enumerate(self.chain.identities.addresses)}
        senders |= {f"{NODE_PREFIX}{node}": int(c[CLIENT]) for node, c in self.nodes.items()}
        rule = self.agreement.plan.rule
        return RoundRecorder(
            rule,
            trainers,
            self.chain,
            self.store,
            self.journal,
            senders,
            tester,
            has_metrics=bool(experiment.metrics),
        )
