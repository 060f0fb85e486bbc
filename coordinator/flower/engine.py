"""Keeps a Flower run going under the service, with an attached ServerApp that responds.

A Flower run ends with its ServerApp, which may end for many reasons. So the engine checks the run
several times a second; if something is wrong it stops the rest of the old run and starts the next,
which continues with the round that the ledger says.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from coordinator.flower.driver_server import DriverServer
from coordinator.flower.node_registry import NodeRegistry
from coordinator.flower.processes import EXECUTOR, SUPERLINK, FlowerProcesses
from coordinator.flower.superlink_control import ControlSlot, SuperLinkControl, SuperLinkError
from coordinator.local.logs import fields
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.wire import RUN_TOKEN

_TICK_S: Final = 0.25
ATTACH_S: Final = 180.0
"""Seconds after the start of its run within which a ServerApp must attach."""
SILENCE_S: Final = 90.0
"""Seconds without a call, outside of one, after which an attached ServerApp counts as stuck."""
_STEADY_S: Final = 20.0
_PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_DEAF_CALLS: Final = 3
"""Unanswered calls in a row after which the SuperLink counts as stuck."""
_log = logging.getLogger("fedproof.coordinator")

ReportProblem = Callable[[str, str], None]


class Engine:
    """Keeps a run going.

    Parameters
    ----------
    processes
        SuperLink and executor.
    driver_server
        Holds the lease of the ServerApp that drives.
    has_rounds
        Returns whether there are rounds to run.
    report_problem
        Called with ``"flower"`` and the problem, empty once it is solved.
    connect
        Opens the SuperLink's control interface.
    """

    def __init__(
        self,
        processes: FlowerProcesses,
        driver_server: DriverServer,
        has_rounds: Callable[[], bool],
        report_problem: ReportProblem,
        connect: Callable[[FlowerProcesses], SuperLinkControl] | None = None,
    ) -> None:
        self._processes, self._driver_server = processes, driver_server
        self._has_rounds, self._report_problem = has_rounds, report_problem
        make = connect or control_of
        self._control = ControlSlot(lambda: make(processes))
        self._nodes = NodeRegistry(processes.settings.registry)
        self._run_id: int | None = None
        self._run_started = 0.0
        self._attached = self._clean = False
        self._failures = self._unanswered = 0
        self._next_start = 0.0
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedproof-engine", daemon=True)

    def start(self) -> None:
        """Start the processes, and the thread that checks on them."""
        self._processes.start()
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Stop the thread; the service ends the child processes."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        self._control.let_go()

    def server_app_left(self) -> None:
        """Check at once, because the ServerApp has disconnected."""
        self._wake.set()

    def sync_nodes(self) -> None:
        """Bring the SuperLink's nodes in line with the registry, where nodes are registered."""
        registered = self._processes.settings.ca is not None
        if registered and self._control.is_open and self._processes.is_up():
            with self._control.use() as control:
                self._nodes.sync(control)

    def renew(self) -> None:
        """Restart with the certificates that are in the files now; the next run follows in seconds.

        May be called from any thread. A control call under way may fail; its connection is closed
        after it.
        """
        self._control.let_go()
        for name in (SUPERLINK, EXECUTOR):
            self._processes.restart(name, "its certificate was renewed")

    @property
    def run_id(self) -> int | None:
        """Flower's number of the current run, ``None`` without one."""
        return self._run_id

    # --- checking ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            if not self._stopping.is_set():
                self.look()

    def look(self) -> None:
        """Check once, and repair what is wrong; raises nothing."""
        try:
            self._look()
            self._unanswered = 0
        except SuperLinkError as error:
            self._report_problem("flower", str(error))
            self._unanswered = 0 if error.answered else self._unanswered + 1
            self._next_start = time.monotonic() + 1.0
            if self._unanswered >= _DEAF_CALLS:
                self._unanswered = 0
                self._processes.restart(SUPERLINK, "it does not answer")
        except FedproofError as error:
            self._report_problem("flower", str(error))
        except Exception as error:
            _log.exception("the engine: a defect")
            self._report_problem("flower", f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        if not self._processes.is_up():
            if self._clean:
                self._report_problem("flower", "the SuperLink is not up")
            return
        with self._control.use() as control:
            self._look_after(control)

    def _look_after(self, control: SuperLinkControl) -> None:
        if not self._clean:
            self._stop_runs(control)
            self.sync_nodes()
            self._clean = True
        if self._run_id is not None and (fault := self._fault()):
            level = logging.WARNING if self._has_rounds() else logging.INFO
            _log.log(level, "the run is over", extra=fields(run=self._run_id, reason=fault))
            self._forget_run(control)
        if self._run_id is None and time.monotonic() >= self._next_start and self._has_rounds():
            self._start_run(control)
        elif self._attached or self._run_id is None:
            self._report_problem("flower", "")

    def _fault(self) -> str:
        """Return what is wrong with the run, empty if nothing."""
        lease = self._driver_server.lease
        age_s = time.monotonic() - self._run_started
        if lease is not None:
            if not self._attached:
                self._attached = True
                took = fields(run=self._run_id, after_s=round(age_s, 1))
                _log.info("the ServerApp drives", extra=took)
            if self._driver_server.is_idle and self._driver_server.silent_s > SILENCE_S:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(lease.peer.pid, signal.SIGKILL)  # it may be stopped, and come back
                return f"its ServerApp has said nothing for {SILENCE_S:g} s"
            if age_s > _STEADY_S:
                self._failures = 0
            return ""
        if self._attached:
            return "its ServerApp has ended"
        if age_s > ATTACH_S:
            self._processes.restart(EXECUTOR, "it started no ServerApp")
            return f"no ServerApp attached within {ATTACH_S:g} s"
        return ""

    def _forget_run(self, control: SuperLinkControl) -> None:
        run_id, self._run_id = self._run_id, None
        self._driver_server.new_token()  # the old run's ServerApp can no longer attach
        self._attached = False
        self._next_start = time.monotonic() + _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        self._failures += 1
        if run_id is not None:
            with contextlib.suppress(SuperLinkError):  # it may have ended by itself
                control.stop_run(run_id)

    def _start_run(self, control: SuperLinkControl) -> None:
        self._attached = False
        token = self._driver_server.new_token()
        self._run_id = control.start_run(self._processes.app, {RUN_TOKEN: token})
        self._run_started = time.monotonic()
        _log.info("a Flower run has started", extra=fields(run=self._run_id))

    def _stop_runs(self, control: SuperLinkControl) -> None:
        """Stop the runs that an earlier service process left unfinished in the database."""
        for run_id in control.unfinished_runs():
            control.stop_run(run_id)
            _log.info("stopped a run of an earlier life", extra=fields(run=run_id))


def control_of(processes: FlowerProcesses) -> SuperLinkControl:
    """Return the SuperLink's control interface."""
    ca = processes.settings.ca
    certificates = None if ca is None else ca.read_bytes()
    return SuperLinkControl(processes.settings.local_address, certificates, processes.secret)
