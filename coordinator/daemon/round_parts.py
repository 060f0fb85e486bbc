"""Builds a coordinator's round parts: chain, store, round service, scheduler, duties to the chain.

Not handled: Flower, HTTP and the order in which all of it starts and ends (``service``).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from eth_account.signers.local import LocalAccount

from coordinator.audit.responder import Responder
from coordinator.audit.watch.rounds import RoundReader
from coordinator.daemon.chain import open_service_chain
from coordinator.daemon.evaluation import ParticipantsEvaluation
from coordinator.daemon.periodic_tasks import ChainTask
from coordinator.daemon.plan import ServicePlan
from coordinator.flower.presence import PresenceRegister
from coordinator.flower.scheduler import RoundScheduler
from coordinator.http.http_context import HttpContext
from coordinator.http.metrics import Telemetry
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.errors import FedproofError, StoreError
from coordinator.protocol.round.feed import RoundFeed, Subscriber
from coordinator.protocol.types import Address, Wei
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import scorer_from
from coordinator.service.trial import try_outside_code
from coordinator.stores.disk import DiskStore
from coordinator.stores.evaluations import EVALUATIONS, EvaluationFolder
from coordinator.stores.run_folder import FileJournal

_log = logging.getLogger("fedproof.coordinator")


class RoundParts:
    """The parts, opened on a coordinator's state folder, which the caller has locked.

    Parameters
    ----------
    plan, account
        The coordinator's plan and account.
    stack
        Closes the parts that are opened here.
    stopping
        When set, ends the waits for an external node and for a round that may be sealed.
    lock
        Must be held while ``rounds`` is used.
    subscribers
        Receive every event of a round, and what participants say of its model.

    Attributes
    ----------
    chain, store
        The open chain and artifact store.
    rounds, scheduler
        The round service, and the scheduler that opens and closes rounds.
    task
        The coordinator's duties to the chain.
    evaluations
        What participants said of models; ``None`` if the federation agreed on no evaluation.

    Raises
    ------
    ConfigError, LedgerError, StoreError
        If a file, the chain or the disk fails.
    """

    def __init__(
        self,
        plan: ServicePlan,
        account: LocalAccount,
        stack: ExitStack,
        stopping: threading.Event,
        lock: threading.RLock,
        subscribers: Sequence[Subscriber],
    ) -> None:
        try_outside_code(plan.agreement.core_rule, plan.agreement.scoring)
        state = plan.state
        self._plan, self._lock = plan, lock
        self.store = DiskStore(state / "blobs")
        stack.callback(self._close_store)
        self.store.discard_leftovers()
        ca = plan.path(plan.settings.chain.ca)
        self.chain = open_service_chain(
            plan.settings.chain, plan.agreement, account, state, ca, stopping
        )
        stack.callback(self.chain.close)
        self.evaluations: EvaluationFolder | None = None
        if plan.agreement.evaluation is not None:
            self.evaluations = EvaluationFolder(state / EVALUATIONS)
            with suppress(StoreError):  # notes, without which rounds go on all the same
                self.evaluations.last(1)
        feed = self._feed = RoundFeed()
        for subscriber in subscribers:
            feed.subscribe(subscriber)
        terms = self.chain.federation.terms
        self.rounds = RoundService(
            self.chain.ledger,
            self.store,
            FileJournal(state / "rounds"),
            scorer_from(plan.agreement.scoring, self.store),
            plan.federation_plan(terms),
            feed,
            plan.instructions(),
        )
        presence_register = PresenceRegister(
            self.chain.federation.domain,
            terms.min_stake_wei,
            self._bond,
            self.chain.ledger.now,
            state / "roster.json",
        )
        self.scheduler = RoundScheduler(
            self.chain.ledger, self.rounds, presence_register, plan.pace(terms), stopping.is_set
        )
        self.task = ChainTask(
            self.rounds,
            Responder(
                self.chain.federation,
                self.chain.referee,
                RoundReader(self.chain.federation, self.store),
                account,
            ),
            self.chain.ledger,
            self.block_number,
            self.chain.referee.settings.answer_s,
            lock,
        )

    def http_context(
        self, telemetry: Telemetry, status: Callable[[], ServiceSnapshot]
    ) -> HttpContext:
        """Return what members and auditors read at the service's port."""
        return HttpContext(
            agreement=self._plan.agreement,
            federation=self.chain.reader,
            store=self.store,
            status=status,
            dispatcher=self.chain.dispatcher,
            allowed_hosts=self._plan.settings.http.allowed_hosts,
            telemetry=telemetry,
            evaluations=self.evaluations,
        )

    def participants_evaluation(
        self, count: Callable[[str], None]
    ) -> ParticipantsEvaluation | None:
        """Return what takes participants' evaluations, ``None`` if none are agreed on.

        ``count`` is told of each answer, as :class:`ParticipantsEvaluation` says.

        Raises
        ------
        ConfigError, StoreError
            If the agreed public set is not there, or cannot be used.
        """
        if self.evaluations is None:
            return None
        return ParticipantsEvaluation.of_federation(
            self._plan.agreement,
            self.chain.ledger,
            self.rounds,
            self.store,
            self.evaluations,
            lambda: self.scheduler.attendance.present,
            lambda: self.scheduler.is_complete,
            count,
            self._feed,
        )

    def block_number(self) -> int:
        """Return the newest block's number."""
        node = self.chain.node
        return self.chain.federation.block().number if node is None else node.head_number

    def wants_rounds(self) -> bool:
        """Return whether there are rounds to run."""
        block = self.block_number()
        with self._lock:
            return self.scheduler.wants_rounds(block)

    def settle_the_past(self, report_problem: Callable[[str, str], None]) -> None:
        """Settle rounds that a crash left sealed; if the chain is unavailable, try again later."""
        try:
            with self._lock:
                self.rounds.catch_up()
        except FedproofError as error:
            _log.error("catching up: %s", error)
            report_problem("chain", str(error))

    def _bond(self, account: Address) -> Wei:
        return self.chain.federation.account(account).bond_wei

    def _close_store(self) -> None:
        try:
            self.store.close()
        except FedproofError as error:
            _log.error("closing the store: %s", error)
