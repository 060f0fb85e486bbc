"""The coordinator's service: built, run until a stop is requested, and ended in limited time.

All of its state is in chain and store, so it may be killed at any time: the next process locks the
same folder, ends the processes that the last one left, settles sealed rounds, and continues with
the round that the ledger says.
"""

import logging
import threading
import time
from contextlib import ExitStack
from typing import Final

from coordinator.daemon.node_order import NodeOrder
from coordinator.daemon.periodic_tasks import PeriodicTask, PeriodicTasks, check_room
from coordinator.daemon.plan import ServicePlan
from coordinator.daemon.renewal import EndWatch, FileWatch
from coordinator.daemon.round_parts import RoundParts
from coordinator.daemon.status import (
    Addresses,
    ServiceStatus,
    log_round,
    state_of,
    write_service_file,
)
from coordinator.flower.driver_server import DriverServer
from coordinator.flower.engine import Engine
from coordinator.flower.processes import FlowerProcesses
from coordinator.flower.round_loop import LoopSettings
from coordinator.http.metrics import Telemetry
from coordinator.http.server import serve_http
from coordinator.local.channel import ChannelServer
from coordinator.local.children import Children, ChildStatus
from coordinator.local.leftovers import end_leftovers, mark_of
from coordinator.local.lock import FolderLock
from coordinator.local.logs import fields
from coordinator.local.paths import private_folder, socket_path

ROLE: Final = "coordinator"
_CHILDREN_GRACE_S: Final = 5.0
_UPKEEP_S: Final = 4.0
_REGISTRY_EVERY_S: Final = 2.0
_FILES_EVERY_S: Final = 5.0
_LOOK_EVERY_S: Final = {True: 0.5, False: 2.0}
"""Seconds between checks, by whether the chain is embedded; an external node is asked less."""
_log = logging.getLogger("fedproof.coordinator")


class CoordinatorService:
    """A running coordinator. Create it, :meth:`start` it, and :meth:`stop` it.

    Parameters
    ----------
    plan
        The configuration to run.
    asked_to_stop
        Set by the caller to end the service; also ends the wait for an external node.

    Raises
    ------
    StoreError
        If another process has the state folder, or the disk fails.
    KeyFileError, ConfigError, LedgerError
        If the key, a file or the chain fails.
    """

    def __init__(self, plan: ServicePlan, asked_to_stop: threading.Event | None = None) -> None:
        self.plan = plan
        self.lock = threading.RLock()
        self.stopping = asked_to_stop or threading.Event()
        self._stack = ExitStack()
        try:
            self._assemble()
        except BaseException:
            self._stack.close()
            raise

    def _assemble(self) -> None:
        plan, state = self.plan, self.plan.state
        self._flower = plan.engine_settings()
        self._stack.enter_context(FolderLock(state))
        account = plan.open_account()
        self._mark = mark_of(state, ROLE)
        if ended := end_leftovers(self._mark):
            _log.warning("ended processes of an earlier life", extra=fields(processes=ended))
        self.telemetry = Telemetry()
        self.children = Children(self._child_changed)
        self.status = ServiceStatus(self._children_states)
        subscribers = (self.telemetry.observe, self.status.observe, log_round)
        self.parts = RoundParts(plan, account, self._stack, self.stopping, self.lock, subscribers)
        self._stack.callback(self.children.stop, grace_s=_CHILDREN_GRACE_S)
        self.chain, self.scheduler = self.parts.chain, self.parts.scheduler
        self.driver_server = DriverServer(
            self.parts.rounds,
            self.scheduler,
            self.lock,
            plan.agreement.core_manifest.dimension,
            self._hello().as_hello(),
            lambda _lease: self.engine.server_app_left(),
            self.status.set_problem,
            self.parts.participants_evaluation(self.telemetry.count_evaluation),
        )
        self._socket = socket_path(state, "service")
        processes = FlowerProcesses(
            self._flower,
            state / "flower",
            state / "logs",
            self.children,
            self._mark,
            self._socket,
        )
        self._node_order = NodeOrder(
            processes.order_file,
            lambda: self.scheduler.attendance.present,
            self.telemetry.count_out_of_step,
            self.status.set_out_of_step,
        )
        self.engine = Engine(
            processes, self.driver_server, self.parts.wants_rounds, self.status.set_problem
        )
        self.periodic_tasks = PeriodicTasks(self._tasks(), self.status.set_problem)

    # --- start and stop ------------------------------------------------------------------------

    def start(self) -> Addresses:
        """Start everything; returns once HTTP answers and Flower's processes are starting.

        Raises
        ------
        ConfigError
            If a port is taken, or the TLS files cannot be used.
        """
        began = time.monotonic()
        section = self.plan.settings.http
        self._http = serve_http(
            self.parts.http_context(self.telemetry, self.status.snapshot),
            section.host,
            section.port,
            **self.plan.http_files,
        )
        self._stack.callback(self._http.stop)
        private_folder(self._socket.parent)
        channel = ChannelServer(
            self._socket,
            self.driver_server.handlers(),
            self.driver_server.limits,
            self.driver_server.disconnected,
        )
        self._stack.callback(channel.stop)
        self.parts.settle_the_past(self.status.set_problem)
        self.engine.start()
        self._stack.callback(self.engine.stop, 2.0)
        self.periodic_tasks.start()
        self._stack.callback(self.periodic_tasks.stop, _UPKEEP_S)
        self.status.set_problem("service", "")
        self.status.set_phase("waiting")
        where = Addresses(self._http.url, self._flower.address)
        write_service_file(self.plan.state, where)
        _log.info(
            "the coordinator is up",
            extra=fields(
                http=where.http,
                superlink=where.superlink,
                contract=self.chain.federation.address,
                sealed_rounds=self.scheduler.height,
                after_s=round(time.monotonic() - began, 1),
            ),
        )
        return where

    def stop(self) -> None:
        """End everything in order of dependence. May be called again."""
        self.stopping.set()
        _log.info("the coordinator is stopping")
        self._stack.close()

    def _hello(self) -> LoopSettings:
        agreement, section = self.plan.agreement, self.plan.settings.round
        return LoopSettings(
            manifest=agreement.core_manifest,
            presence_s=section.presence_s,
            pause_s=section.pause_s,
            examples_cap=agreement.core_rule.examples_cap,
            evaluation_s=section.evaluation_s if agreement.evaluation else 0.0,
            buffers=agreement.model.buffers if agreement.model else (),
        )

    def _tasks(self) -> list[PeriodicTask]:
        return [
            PeriodicTask("chain", self.parts.task.step, _LOOK_EVERY_S[self.chain.is_embedded]),
            PeriodicTask("status", self._show_presence, 1.0),
            PeriodicTask("registry", self.engine.sync_nodes, _REGISTRY_EVERY_S),
            PeriodicTask("replies", self._node_order.step, _REGISTRY_EVERY_S),
            PeriodicTask("disk", lambda: check_room(self.plan.state), _FILES_EVERY_S),
            *(
                PeriodicTask(name, watch.step, _FILES_EVERY_S)
                for name, watch in self._watches().items()
            ),
        ]

    def _watches(self) -> dict[str, FileWatch | EndWatch]:
        web, plan, flower = self.plan.settings.http, self.plan, self._flower
        pair = [f for f in (plan.path(web.certificate), plan.path(web.key)) if f is not None]
        return {
            "http certificate": FileWatch(pair, lambda: self._http.renew_certificate(*pair)),
            "superlink certificate": FileWatch(flower.files, self.engine.renew),
            "certificates": EndWatch([*pair[:1], *flower.certificates]),
        }

    def _show_presence(self) -> None:
        self.status.set_online(self.scheduler.attendance.present.values())
        if self.plan.settings.round.rounds and not self.parts.wants_rounds():
            self.status.set_phase("complete")
        elif self.scheduler.is_waiting:
            self.status.set_phase("waiting")

    def _children_states(self) -> dict[str, str]:
        states = {child.name: state_of(child) for child in self.children.status()}
        lease = self.driver_server.lease
        if self.engine.run_id is not None:
            states["serverapp"] = "starting" if lease is None else f"running (pid {lease.peer.pid})"
        return states

    def _child_changed(self, child: ChildStatus) -> None:
        if child.state == "running":
            _log.info("a child has started", extra=fields(child=child.name, process=child.pid))
        elif not self.stopping.is_set():
            _log.warning(
                "a child has ended", extra=fields(child=child.name, status=child.returncode)
            )
