"""The participant's daemon: has key, data, model and chain; keeps Flower's SuperNode running.

One process with one loop (``PeriodicTasks``) and a thread for each message. It is meant to run for
months: failures are tried again after growing pauses, and only mistakes in its own files, or a node
of another federation, end it.
"""

import logging
import os
import threading
from typing import Final

# isort: split
from eth_account.signers.local import LocalAccount
from flwr.app import MessageType

from clients.daemon.connected import Connected, KeptState, connect
from clients.daemon.message_handler import MessageHandler
from clients.daemon.periodic_tasks import Faults, PeriodicTasks, took_part
from clients.daemon.preload import load_kernels
from clients.daemon.relay import CALL, unpack_request
from clients.daemon.setup import Setup
from clients.daemon.status import ParticipantStatus, State, child_rows, write_status
from clients.daemon.supernode import SuperNode, SuperNodeError
from clients.daemon.suspend_detector import SuspendDetector
from clients.daemon.watchdog import Watchdog
from clients.mod.verifiable_updates import ClientAppCallable
from coordinator.local.channel import ChannelServer, Reply, Request
from coordinator.local.children import Children
from coordinator.local.frames import FrameLimits
from coordinator.local.leftovers import end_leftovers, mark_of
from coordinator.local.logs import fields
from coordinator.local.paths import socket_path
from coordinator.protocol.errors import FedproofError, LedgerError, StoreError
from coordinator.protocol.types import RoundId

POLL_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 30.0
_GRACE_S: Final = 5.0
_SLACK_BYTES: Final = 64 << 20
"""Bytes of a message besides the model: buffers, the user's own records."""
_log = logging.getLogger(__name__)


class ParticipantDaemon:
    """One participant's daemon. The caller holds the lock on its state folder.

    Parameters
    ----------
    setup
        Settings and agreement.
    account
        The decrypted key, which never leaves this process.
    app
        The application.
    """

    def __init__(self, setup: Setup, account: LocalAccount, app: ClientAppCallable) -> None:
        self._setup = setup
        self._account = account
        self._app = app
        self._mark = mark_of(setup.state, "participant")
        self._socket = socket_path(setup.state, "participant")
        self._node = SuperNode(setup.settings, setup.folder, self._socket, setup.state, self._mark)
        self._kept = KeptState.of(setup)
        self._faults = Faults()
        self._watchdog = Watchdog()
        self._out_of_step = 0
        self._suspend_detector = SuspendDetector()
        self._stop = threading.Event()
        self._connected: Connected | None = None

    def stop(self) -> None:
        """Request the end; may be called from a signal handler."""
        self._stop.set()

    @property
    def is_training(self) -> bool:
        """Whether the application is training now."""
        return self._connected is not None and self._connected.message_handler.is_training

    def run(self, *, once: bool = False) -> None:
        """Take part until it is stopped; with ``once``, until a round with our update is sealed.

        Raises
        ------
        WrongFederationError
            If the node's chain or contract is not the agreed one.
        """
        ended = end_leftovers(self._mark)
        if ended:
            _log.warning("ended what an earlier life left running", extra=fields(processes=ended))
        limit = 4 * self._setup.agreement.core_manifest.dimension + _SLACK_BYTES
        limits = FrameLimits(max_header_bytes=1 << 24, max_attachment_bytes=limit)
        with ChannelServer(self._socket, {CALL: self._answer}, limits), Children() as children:
            try:
                self._suspend_detector.start()
                load_kernels(self._setup.agreement.core_manifest)
                self._connect(children)
                self._serve(children, once=once)
            finally:
                self._suspend_detector.stop()
                self._write("stopped", children)
                children.stop(grace_s=_GRACE_S)

    def _connect(self, children: Children) -> None:
        """Connect to the chain, retrying without limit, and check it; then start the SuperNode."""
        pause_s = POLL_S / 2
        while not self._stop.is_set():
            try:
                self._connected = connect(
                    self._setup, self._account, self._app, self._kept, self._faults
                )
            except LedgerError as error:
                self._faults.wrong("chain", error)
            else:
                self._faults.right("chain")
                self._node.start(children)
                rpc = self._setup.settings.coordinator.rpc
                _log.info("connected", extra=fields(node=rpc, address=self._account.address))
                return
            self._write("connecting", children)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _serve(self, children: Children, *, once: bool) -> None:
        while not self._stop.is_set() and self._connected is not None:
            periodic_tasks, message_handler = (
                self._connected.periodic_tasks,
                self._connected.message_handler,
            )
            whole = periodic_tasks.step()
            if (
                message_handler.is_training
                or message_handler.progress.last_asked == periodic_tasks.open_round
            ):
                self._watchdog.heard()  # the message came before we saw that the round is open
            self._look_at_node(children, periodic_tasks.open_round)
            state: State = "training" if message_handler.is_training else "ready"
            self._write(state if whole else "refusing", children)
            if once and self._sealed_with_ours(periodic_tasks, message_handler):
                return
            self._stop.wait(POLL_S)

    def _look_at_node(self, children: Children, open_round: RoundId) -> None:
        try:
            uptime_s = self._node.look(children)
            why = ""
            if (stood_s := self._suspend_detector.take()) and uptime_s > POLL_S:
                why = f"this machine, or the daemon, stood still for {stood_s:.0f} s"
            elif problem := self._node.deliveries.problem():
                self._out_of_step += 1
                why = f"its replies would come one round late: {problem}"
            elif self._watchdog.is_stuck(open_round, uptime_s, self._node.is_carrying):
                why = f"round {open_round} is open and nothing comes from it"
            if why:
                _log.warning("starting the SuperNode again: %s", why)
                self._node.restart(children)
        except (SuperNodeError, StoreError) as error:
            self._faults.wrong("supernode", error)
        else:
            self._faults.right("supernode")

    def _sealed_with_ours(
        self, periodic_tasks: PeriodicTasks, message_handler: MessageHandler
    ) -> bool:
        for round_id in sorted(message_handler.progress.rounds):
            try:
                if took_part(
                    periodic_tasks.link.federation,
                    periodic_tasks.store,
                    round_id,
                    message_handler.address,
                ):
                    _log.info("took part in a sealed round", extra=fields(round=round_id))
                    return True
            except FedproofError as error:
                _log.info("cannot tell yet: %s", error, extra=fields(round=round_id))
        return False

    def _answer(self, request: Request) -> Reply:
        message = unpack_request(request.args, request.attachments)
        self._node.deliveries.handed(message.metadata.message_id)
        if message.metadata.message_type.startswith(MessageType.TRAIN):
            self._watchdog.heard()
        run_config = request.args.get("run_config")
        if self._connected is None:
            raise LedgerError(self._faults.now.get("chain", "the chain was not reached yet"))
        answer = self._connected.message_handler.answer(
            message, run_config if isinstance(run_config, dict) else {}
        )
        return Reply(answer.header, answer.attachments)

    def _write(self, state: State, children: Children) -> None:
        connected = self._connected
        progress = connected.message_handler.progress if connected else None
        status = ParticipantStatus(
            name=self._setup.settings.name,
            address=self._account.address,
            state=state,
            pid=os.getpid(),
            chain_block=connected.periodic_tasks.block if connected else 0,
            bond_wei=str(connected.periodic_tasks.bond_wei if connected else 0),
            trained=progress.trained if progress else 0,
            repeated=progress.repeated if progress else 0,
            refused=progress.refused if progress else 0,
            last_round=progress.last_round if progress else None,
            last_refusal=progress.last_refusal if progress else "",
            out_of_step=self._out_of_step,
            equivocated=sorted({round_id for round_id, _ in self._kept.instructions.differing()}),
            faults=dict(self._faults.now),
            children=child_rows(children.status()),
        )
        write_status(self._setup.state / "status.json", status)
