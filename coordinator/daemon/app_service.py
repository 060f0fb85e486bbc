"""A coordinator's chain, store, port and duties, for a ServerApp that somebody else starts.

The same folder and files as ``fedproof coordinator`` runs, without its Flower processes: whoever
runs the ServerApp has a SuperLink of his own. Not handled: which nodes may take part (that
SuperLink's settings say), and rounds that go on when the ServerApp has ended.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from coordinator.daemon.periodic_tasks import PeriodicTask, PeriodicTasks, check_room
from coordinator.daemon.plan import ServicePlan
from coordinator.daemon.round_parts import RoundParts
from coordinator.daemon.status import ServiceStatus, log_round
from coordinator.http.metrics import Telemetry
from coordinator.http.server import serve_http
from coordinator.local.lock import FolderLock
from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import (
    Commitment,
    Int32Vector,
    JsonObject,
    RoundId,
    Signed,
    SignedInstruction,
    UpdateMessage,
)
from coordinator.service.round_service import RoundService

_CHAIN_S: Final = 0.5
_DISK_S: Final = 5.0
_END_S: Final = 4.0
Answer = TypeVar("Answer")


class LockedDriver:
    """A round service that takes turns with other threads: a :class:`RoundDriver`."""

    def __init__(self, rounds: RoundService, lock: threading.RLock) -> None:
        self._rounds, self._lock = rounds, lock

    def _call(self, method: Callable[..., Answer], *given: Any) -> Answer:
        with self._lock:
            return method(*given)

    def next_model(self) -> tuple[Manifest, bytes]:
        """Return layout and root of the model that the next round opens on."""
        return self._call(self._rounds.next_model)

    def model(self) -> Int32Vector:
        """Return the model that training has come to, shape ``(d,)``, fixed point."""
        return self._call(self._rounds.model)

    def initial_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the model agreed on before the first round, as named tensors in order."""
        return self._call(self._rounds.initial_arrays)

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or go on with one that a crash left open."""
        return self._call(self._rounds.open_round)

    def sign_instruction(
        self, round_id: RoundId, phase: str, content: JsonObject
    ) -> SignedInstruction:
        """Sign the one instruction of a phase of a round, or return the one signed before."""
        return self._call(self._rounds.sign_instruction, round_id, phase, content)

    def commit(self, signed: Signed[Commitment]) -> None:
        """Offer one commitment of a sealed round; raises ``ContributorError`` if refused."""
        self._call(self._rounds.commit, signed)

    def close_commitments(self) -> JsonObject | None:
        """Put the commitments on chain and return their document; ``None`` voids the round."""
        return self._call(self._rounds.close_commitments)

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Offer one update; raises ``ContributorError`` if it is refused (and records it)."""
        self._call(self._rounds.submit, signed, vector, metrics, salt)

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a reply that could not even be read as a submission."""
        self._call(self._rounds.refuse, sender, error)

    def close_round(self) -> RoundOutcome:
        """Aggregate, commit and score what was accepted, or void the round."""
        return self._call(self._rounds.close_round)


class AppService:
    """A coordinator's service around somebody else's ServerApp, open until it is closed.

    Parameters
    ----------
    config
        The federation's ``coordinator.toml``.

    Raises
    ------
    ConfigError
        If a file is unusable, or the port is taken.
    KeyFileError
        If key or password cannot be had.
    LedgerError, StoreError
        If the chain refuses or is away; if another process has the folder.
    """

    def __init__(self, config: Path) -> None:
        self.plan = ServicePlan.read(config)
        self._stack, stopping = ExitStack(), threading.Event()
        try:
            self._stack.enter_context(FolderLock(self.plan.state))
            self._stack.callback(stopping.set)
            account, lock = self.plan.open_account(), threading.RLock()
            telemetry, status = Telemetry(), ServiceStatus(dict)
            hears = (telemetry.observe, status.observe, log_round)
            parts = RoundParts(self.plan, account, self._stack, stopping, lock, hears)
            section = self.plan.settings.http
            http = serve_http(
                parts.http_context(telemetry, status.snapshot),
                section.host,
                section.port,
                **self.plan.http_files,
            )
            self._stack.callback(http.stop)
            parts.settle_the_past(status.set_problem)
            duties = [
                PeriodicTask("chain", parts.task.step, _CHAIN_S),
                PeriodicTask("disk", lambda: check_room(self.plan.state), _DISK_S),
            ]
            tasks = PeriodicTasks(duties, status.set_problem)
            tasks.start()
            self._stack.callback(tasks.stop, _END_S)
        except BaseException:
            self._stack.close()
            raise
        self.driver = LockedDriver(parts.rounds, lock)
        self.completed_rounds = parts.rounds.completed_rounds
        self.url = http.url

    @property
    def longest_wait_s(self) -> float:
        """How long replies may be waited for, so that a round is sealed before its deadline."""
        return self.plan.agreement.round_duration_s - self.plan.settings.round.seal_margin_s

    def close(self) -> None:
        """Leave chain and store as they are; harmless when repeated."""
        self._stack.close()
