"""Tasks that must run on time, with or without a round: answers, finality, the nodes' registry.

One thread, which takes turns with the rounds. A failed task is reported and tried again. A late
answer costs the coordinator its bond, so answers come first.

Answers, deposits and finality are checked at each new block, and when a window ends: every
question, conviction or settled round is in a new block. Disk space is checked regularly.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from coordinator.audit.responder import Responder
from coordinator.local.logs import fields
from coordinator.ports import Ledger
from coordinator.protocol.errors import FedproofError, StoreError
from coordinator.protocol.round.chain_round import ChainRound

LEAST_FREE_BYTES: Final = 32 << 20


def check_room(folder: Path, least_free_bytes: int = LEAST_FREE_BYTES) -> None:
    """Check that the folder's disk has space left.

    Raises
    ------
    StoreError
        If less than ``least_free_bytes`` are free, or the disk's state cannot be read.
    """
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from error
    free = disk.f_bavail * disk.f_frsize
    if free < least_free_bytes:
        raise StoreError(
            f"{folder}: {free >> 10} KiB of space left on its disk, expected at least "
            f"{least_free_bytes >> 10}; when it is full, rounds wait until there is room"
        )


_LONGEST_S: Final = 30.0
_SHORTEST_S: Final = 0.2
_ANSWERS: Final = 8
"""Number of checks within the time allowed for an answer."""
_log = logging.getLogger("fedproof.coordinator")


class FinalizableRounds(Protocol):
    """What the task needs of :class:`~coordinator.service.round_service.RoundService`."""

    def finalize_ready(self) -> None:
        """Finalise, in order, every settled round whose window has passed."""

    def next_to_finalize(self) -> ChainRound | None:
        """Return the lowest settled round that is not final, if any."""


class ChainTask:
    """The coordinator's duties to the chain: answers in disputes, deposits, finality.

    Parameters
    ----------
    block_number
        Returns the newest block's number; called at each step, so it should be cheap.
    answer_s
        Seconds that the contract allows for an answer in a dispute.
    lock
        Must be held while ``rounds`` is used.
    """

    def __init__(
        self,
        rounds: FinalizableRounds,
        responder: Responder,
        ledger: Ledger,
        block_number: Callable[[], int],
        answer_s: int,
        lock: threading.RLock,
    ) -> None:
        self._rounds, self._responder, self._ledger = rounds, responder, ledger
        self._block_number, self._lock = block_number, lock
        self._longest_s = max(_SHORTEST_S, min(_LONGEST_S, answer_s / _ANSWERS))
        self._seen = -1
        self._next = 0.0
        self._final = -1

    def step(self) -> None:
        """Do all duties that are due.

        Raises
        ------
        FedproofError
            Any error of chain or store; the next step tries again.
        """
        head = self._block_number()
        if head == self._seen and time.monotonic() < self._next:
            return
        self._seen = -1
        with self._lock:
            self._answer()
            self._rounds.finalize_ready()
            self._log_final_rounds()
            waiting = self._rounds.next_to_finalize()
            wait_s = self._longest_s
            if waiting is not None and waiting.finalizable_at is not None:
                wait_s = min(wait_s, waiting.finalizable_at - self._ledger.now())
        self._next = time.monotonic() + max(_SHORTEST_S, wait_s)
        self._seen = head  # our own blocks are checked once more, which is harmless

    def _log_final_rounds(self) -> None:
        """Log every round that has become final since the first step."""
        newest = self._ledger.head().last_final
        height = self._ledger.round(newest).height if newest else 0
        for final in range(self._final + 1 if self._final >= 0 else height + 1, height + 1):
            _log.info("round final", extra=fields(round=self._ledger.round_at_height(final)))
        self._final = height

    def _answer(self) -> None:
        for given in self._responder.step():
            _log.warning(
                "answered a question of a dispute",
                extra=fields(case=given.case_id, round=given.round_id, kind=given.kind),
            )
        owed = self._responder.settle()
        if owed:
            _log.info("collected deposits of disputes", extra=fields(wei=owed))


_log = logging.getLogger("fedproof.coordinator")


@dataclass
class PeriodicTask:
    """A task to run every ``every_s`` seconds."""

    name: str
    do: Callable[[], None]
    every_s: float
    next_at: float = 0.0


class PeriodicTasks:
    """Runs tasks in order, each when it is due, until it is stopped.

    Parameters
    ----------
    report_problem
        Called with a task's name and its error, and with an empty text at its next success.

    Raises
    ------
    ValueError
        If two tasks have one name, since each would cancel the other's problems.
    """

    def __init__(
        self, tasks: Sequence[PeriodicTask], report_problem: Callable[[str, str], None]
    ) -> None:
        self._tasks, self._report_problem = list(tasks), report_problem
        names = [task.name for task in self._tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks {sorted(names)}: expected a different name for each")
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedproof-upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, within_s: float) -> bool:
        """Stop after the current task; return whether it ended in time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for task in self._tasks:
                if not self._stopping.is_set() and time.monotonic() >= task.next_at:
                    self._do(task)
            soonest = min(task.next_at for task in self._tasks)
            self._stopping.wait(max(0.05, soonest - time.monotonic()))

    def _do(self, task: PeriodicTask) -> None:
        try:
            task.do()
        except FedproofError as error:
            if task.name not in self._failing:
                _log.error("%s: %s", task.name, error, extra=fields(task=task.name))
            self._failing.add(task.name)
            self._report_problem(task.name, str(error))
        except Exception as error:  # a defect in one task must not stop the others
            _log.exception("%s: a defect", task.name)
            self._failing.add(task.name)
            self._report_problem(task.name, f"{type(error).__name__}: {error}")
        else:
            if task.name in self._failing:
                self._failing.discard(task.name)
                _log.info("%s: works again", task.name, extra=fields(task=task.name))
                self._report_problem(task.name, "")
        task.next_at = time.monotonic() + task.every_s
