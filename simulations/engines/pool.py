"""The worker processes behind :class:`~simulations.engines.process.PoolGrid`.

Tasks wait in one queue of the owner process; a worker gets the next one when it is free, so slow
and fast clients balance out. The owner keeps every client's ``Context.state`` and sends it with the
task: any worker can serve any client, and no state is lost when a worker dies. Python's
``ProcessPoolExecutor`` is not used, since it pickles everything and breaks when one worker dies
(ADR 62).
"""

import atexit
import contextlib
import itertools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess

from clients.mod.chain_view import ChainView, chain_round_json
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.protocol.types import RoundId
from simulations.engines import frames
from simulations.engines.fork_server import start_server
from simulations.engines.frames import Frame, FrameChannel
from simulations.engines.segments import SegmentFolder
from simulations.engines.worker import AppFactory, WorkerSetup, worker_main

_log = logging.getLogger(__name__)

_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
_STOP_GRACE_S = 5.0
_BRIEF_TASK_S = 0.01
_START_ATTEMPTS = 3
_GUARD = 'if __name__ == "__main__":'


@dataclass(eq=False)
class Task:
    """One message for one client, and its state in the pool."""

    number: int
    node_id: int
    header: bytes
    message: bytes
    broadcast: str | None
    state: bytes = b""
    sent_at: float = 0.0
    abandoned: bool = False

    @property
    def message_id(self) -> str:
        """Flower's id of the message."""
        return f"{self.number:016x}"


@dataclass(frozen=True)
class Finished:
    """A task's reply (packed) and the client's state after it, or why there is no reply."""

    task: Task
    reply: bytes = b""
    state: bytes = b""
    failure: str = ""


@dataclass(eq=False)
class _Worker:
    index: int
    process: BaseProcess
    channel: FrameChannel
    ready: bool = False
    sent: deque[Task] = field(default_factory=deque)


class WorkerPool:
    """Persistent worker processes; not thread-safe.

    Parameters
    ----------
    factory, spec
        See :class:`~simulations.engines.worker.WorkerSetup`.
    workers
        Number of processes.
    state_of
        Returns a client's serialised ``Context.state`` when its task is sent.
    on_dropped
        Called for a task that will never finish.
    preload
        Modules imported once, before the workers are forked from the server process.
    """

    def __init__(
        self,
        factory: AppFactory,
        spec: object,
        *,
        workers: int,
        segments: SegmentFolder,
        state_of: Callable[[int], bytes],
        on_dropped: Callable[[Task], None],
        chain_view: ChainView | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        self._factory, self._spec = factory, spec
        self._segments = segments
        self._state_of = state_of
        self._on_dropped = on_dropped
        self._chain_view = chain_view
        self._context = get_context("forkserver")
        start_server(preload)
        self._queue: deque[Task] = deque()
        self._busy_nodes: set[int] = set()
        self._usual_s = 1.0
        self._failed_starts = 0
        self._incarnations = itertools.count(1)
        self._workers: list[_Worker] = []
        atexit.register(self.close)
        self._workers = [self._start(index) for index in range(workers)]

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the live workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    @property
    def is_ready(self) -> bool:
        """Whether every worker has built its ClientApp."""
        return all(worker.ready for worker in self._workers)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Queue tasks in order."""
        self._queue.extend(tasks)
        self._dispatch()

    def poll(self, timeout_s: float | None) -> list[Finished]:
        """Wait until something happens, at most ``timeout_s``; return the tasks that finished."""
        self._dispatch()
        waitables: dict[object, _Worker] = {}
        for worker in self._workers:
            waitables[worker.channel.connection] = worker
            waitables[worker.process.sentinel] = worker
        finished: list[Finished] = []
        handled: set[int] = set()
        for item in connection.wait(list(waitables), timeout_s):  # type: ignore[arg-type]
            worker = waitables[item]
            if worker.index not in handled:
                handled.add(worker.index)
                finished.extend(self._attend(worker))
        self._dispatch()
        return finished

    def abandon(self, tasks: Iterable[Task], *, kill: bool) -> None:
        """Drop tasks: queued ones are removed; running ones are killed, or their result ignored."""
        doomed = set(tasks)
        for task in [task for task in self._queue if task in doomed]:
            self._queue.remove(task)
            self._on_dropped(task)
        for worker in list(self._workers):
            for task in worker.sent:
                task.abandoned = task.abandoned or task in doomed
            if kill and worker.sent and worker.sent[0] in doomed:
                self._replace(worker, kill=True)

    def close(self) -> None:
        """Stop every worker; idle ones end at once, others are killed."""
        atexit.unregister(self.close)
        workers, self._workers = self._workers, []
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.channel.send(Frame(frames.STOP))
        deadline = time.monotonic() + _STOP_GRACE_S
        for worker in workers:
            if worker.sent or not worker.ready:
                worker.process.kill()
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.channel.connection.close()

    def _start(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe(duplex=True)
        incarnation = next(self._incarnations)
        setup = WorkerSetup(
            index=index,
            segments=self._segments.path,
            factory=self._factory,
            spec=self._spec,
            domain=self._chain_view.domain if self._chain_view is not None else None,
            environment=_WORKER_ENVIRONMENT,
        )
        process = self._context.Process(
            target=worker_main, args=(theirs, setup), daemon=True, name=f"fedproof-worker-{index}"
        )
        process.start()
        theirs.close()
        return _Worker(index, process, FrameChannel(ours, self._segments, f"p{incarnation}"))

    def _dispatch(self) -> None:
        # Sending one task ahead hides the pipe's latency; for long tasks, or near the end, it would
        # only make a task wait behind a slow one.
        brief = self._usual_s < _BRIEF_TASK_S and len(self._queue) > 4 * len(self._workers)
        depth = 2 if brief else 1
        for room in range(1, depth + 1):
            for worker in self._workers:
                if worker.ready and len(worker.sent) < room and (task := self._next_task()):
                    self._send(worker, task)

    def _next_task(self) -> Task | None:
        for position, task in enumerate(self._queue):
            if task.node_id not in self._busy_nodes:  # a client's tasks run one after another
                del self._queue[position]
                return task
        return None

    def _send(self, worker: _Worker, task: Task) -> None:
        self._busy_nodes.add(task.node_id)
        worker.sent.append(task)
        task.state = self._state_of(task.node_id)
        task.sent_at = time.monotonic()
        with contextlib.suppress(OSError):  # a dead worker is noticed by its sentinel
            worker.channel.send(Frame(frames.TASK, (task.header, task.state, task.message)))

    def _attend(self, worker: _Worker) -> list[Finished]:
        finished: list[Finished] = []
        try:
            while worker.channel.connection.poll():
                self._handle(worker, worker.channel.receive(), finished)
        except (EOFError, OSError):
            worker.process.join(_STOP_GRACE_S)
        if not worker.process.is_alive():
            finished.extend(self._bury(worker))
        return finished

    def _handle(self, worker: _Worker, frame: Frame, finished: list[Finished]) -> None:
        if frame.kind == frames.READY:
            worker.ready = True
            self._failed_starts = 0
        elif frame.kind == frames.FAILED and worker.ready:
            raise ConfigError(frame.parts[0].decode(errors="replace"))
        elif frame.kind == frames.FAILED:
            raise ConfigError(
                f"worker {worker.index}: the ClientApp could not be built from "
                f"{self._factory!r}: {frame.parts[0].decode(errors='replace')}"
            )
        elif frame.kind == frames.QUERY:
            worker.channel.send(Frame(frames.ANSWER, (self._read_chain(frame.json()),)))
        elif frame.kind == frames.REPLY:
            task = worker.sent.popleft()
            self._busy_nodes.discard(task.node_id)
            self._usual_s += 0.1 * (time.monotonic() - task.sent_at - self._usual_s)
            finished.append(Finished(task, reply=frame.parts[2], state=frame.parts[1]))

    def _read_chain(self, round_id: int) -> bytes:
        if self._chain_view is None:
            return frames.json_part({"error": "the pool was given no chain view"})
        try:
            return frames.json_part(chain_round_json(self._chain_view.round(RoundId(round_id))))
        except FedproofError as error:
            return frames.json_part({"error": str(error)})

    def _bury(self, worker: _Worker) -> list[Finished]:
        """Replace a dead worker: its running task has failed, its other tasks are queued again."""
        ended = _ending(worker.process.exitcode)
        if not worker.ready:
            self._failed_starts += 1
        if self._failed_starts >= _START_ATTEMPTS:
            raise ConfigError(
                f"worker {worker.index}: {ended} while building the ClientApp from "
                f"{self._factory!r}, {_START_ATTEMPTS} times in a row; its own error is above, on "
                f"standard error{_advice()}"
            )
        lost = worker.sent.popleft() if worker.sent else None
        _log.warning("worker %d %s; starting another", worker.index, ended)
        self._replace(worker, kill=False)
        if lost is None:
            return []
        self._busy_nodes.discard(lost.node_id)
        return [Finished(lost, state=lost.state, failure=f"worker-crashed: the worker {ended}")]

    def _replace(self, worker: _Worker, *, kill: bool) -> None:
        if kill:
            worker.process.kill()
        worker.process.join()
        worker.channel.connection.close()
        self._segments.remove_all(f"w{worker.index}-{worker.process.pid}-")
        for task in reversed(worker.sent):
            self._busy_nodes.discard(task.node_id)
            if task.abandoned:
                self._on_dropped(task)
            else:
                self._queue.appendleft(task)
        self._workers[self._workers.index(worker)] = self._start(worker.index)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"ended with exit status {exit_code}"


def _advice() -> str:
    """Return what to look at in a script of the user's: each worker imports it first."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None or getattr(sys.modules["__main__"], "__spec__", None) is not None:
        return ""
    return f"; each worker imports {script}: what starts a run there belongs under {_GUARD}"


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))
