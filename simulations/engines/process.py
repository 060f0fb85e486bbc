"""A Flower ``Grid`` over a pool of processes: real ClientApps, no network, no Ray.

Arrays are broadcast once per round through memory-backed files and returned the same way; replies
are yielded as they arrive. The result of a client depends only on its message, context and seed, so
any number of workers gives the same bytes. Works inside ``flwr run`` on a SuperLink without
SuperNodes, and alone. Not handled: nodes that come and go; every client is always connected.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

# isort: split
from flwr.app import Error, Message, RecordDict, UserConfig
from flwr.serverapp import Grid

from clients.mod.chain_view import ChainView
from coordinator.flower.internals import (
    SUPERLINK_NODE_ID,
    ErrorCode,
    Run,
    identify_process,
    set_message_id,
)
from coordinator.protocol.errors import ConfigError, PhaseError
from simulations.engines import frames
from simulations.engines.ending import exit_on_sigterm
from simulations.engines.fork_server import DEFAULT_PRELOAD
from simulations.engines.frames import PackedContent
from simulations.engines.pool import Finished, Task, WorkerPool, default_workers
from simulations.engines.reply_timing import is_silent, take_delay
from simulations.engines.segments import SegmentFolder
from simulations.engines.worker import AppFactory


class PoolGrid(Grid):
    """Runs ClientApps in worker processes behind Flower's ``Grid``.

    Parameters
    ----------
    factory
        ``"module:attribute"`` or an importable callable that returns the ClientApp; the attribute
        may be the ClientApp itself. Called once in every worker.
    clients
        Node id to ``node_config``. Node ids are positive and other than 1 (the server's), and
        should stay the same from run to run: sampling and seeds depend on them.
    spec
        Passed to the factory; anything that ``multiprocessing`` can pass to a child, or ``None``.
    workers
        Number of processes; all cores if ``None``.
    seed
        Root of the seeds that the process-wide generators get before every task.
    chain_view
        Read in this process when a worker needs a round of the chain.
    wait
        Waits until so many seconds of chain time since the round's opening, before a delayed reply
        is yielded; ``None`` if there is no chain time.
    tag
        Part of the name of the folder of segments.

    Raises
    ------
    ConfigError
        For a bad number of workers or node ids; at the first use, if the ClientApp cannot be
        built.
    """

    def __init__(
        self,
        factory: AppFactory,
        clients: Mapping[int, UserConfig],
        *,
        spec: object = None,
        workers: int | None = None,
        seed: int = 0,
        run_id: int = 1,
        run_config: UserConfig | None = None,
        chain_view: ChainView | None = None,
        wait: Callable[[int], None] | None = None,
        preload: Sequence[str] = DEFAULT_PRELOAD,
        tag: str = "run",
        segment_base: Path | None = None,
    ) -> None:
        count = min(default_workers() if workers is None else workers, max(1, len(clients)))
        if count < 1:
            raise ConfigError(f"workers is {count}, expected 1 or more")
        if not clients or any(node_id <= SUPERLINK_NODE_ID for node_id in clients):
            raise ConfigError(f"clients: node ids {sorted(clients)[:3]}, expected integers over 1")
        identify_process(run_id)
        self._run = Run.create_empty(run_id)
        self._clients = dict(clients)
        self._states: dict[int, bytes] = {}
        self._seed = seed
        self._run_config = dict(run_config or {})
        self._numbers = itertools.count(1)
        self._turns: dict[int, int] = {}
        self._messages: dict[int, Message] = {}
        self._broadcasts: dict[str, set[int]] = {}
        self._replies: dict[str, Message | None] = {}
        self._delays: dict[str, int] = {}
        self._wait = wait
        self._segments = SegmentFolder.create(tag, segment_base)
        self._signals = ExitStack()
        try:
            self._pool = WorkerPool(
                factory,
                spec,
                workers=count,
                segments=self._segments,
                state_of=lambda node_id: self._states.get(node_id, b""),
                on_dropped=self._forget,
                chain_view=chain_view,
                preload=preload,
            )
        except BaseException:
            self._segments.close()
            raise

    def __enter__(self) -> "PoolGrid":
        self._signals.enter_context(exit_on_sigterm())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._signals:
            self.close()

    def close(self) -> None:
        """End the workers and remove the segments; may be called twice."""
        self._pool.close()
        self._segments.close()

    def wait_until_ready(self) -> None:
        """Return once every worker has built its ClientApp.

        Raises
        ------
        ConfigError
            If a worker cannot build it.
        """
        while not self._pool.is_ready:
            for finished in self._pool.poll(None):
                self._collect(finished)

    @property
    def worker_process_ids(self) -> list[int]:
        """Process ids of the workers."""
        return self._pool.process_ids

    @property
    def segment_folder(self) -> Path:
        """The folder of this pool's segments."""
        return self._segments.path

    def set_run(self, run: Run) -> None:
        """Use the identity of a run that Flower started."""
        self._run = run

    @property
    def run(self) -> Run:
        """Run information."""
        return Run(**vars(self._run))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message (Flower's older way; ``Message`` itself is preferred)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids, ascending."""
        return sorted(self._clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; returns their ids."""
        return [task.message_id for task in self._enqueue(messages)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that have arrived, each once."""
        for finished in self._pool.poll(0.0):
            self._collect(finished)
        arrived = [name for name in message_ids if name in self._replies]
        for name in arrived:
            self._delays.pop(name, None)  # the caller decides itself when to pull
        replies = [self._replies.pop(name) for name in arrived]
        return [reply for reply in replies if reply is not None]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages and yield the replies as they arrive.

        Unlike Flower's own grid this gives a reply to every message: if a client has not replied
        within ``timeout`` seconds there is an error reply ``client-timeout``, and the worker that
        is stuck on it is replaced. Delayed replies come last, in order of delay.
        """
        return self._stream(self._enqueue(messages), timeout)

    def _stream(self, tasks: list[Task], timeout: float | None) -> Iterator[Message]:
        waiting = {task.message_id: task for task in tasks}
        end = None if timeout is None else time.monotonic() + timeout
        delayed: list[tuple[int, int, Message]] = []
        try:
            while waiting:
                for name in [name for name in waiting if name in self._replies]:
                    node_id, reply = waiting.pop(name).node_id, self._replies.pop(name)
                    if (delay_s := self._delays.pop(name, 0)) and reply is not None:
                        delayed.append((delay_s, node_id, reply))
                    elif reply is not None:
                        yield reply
                if not waiting:
                    break
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    yield from self._expire(waiting, timeout)
                    break
                for finished in self._pool.poll(left):
                    self._collect(finished)
            for delay_s, _, reply in sorted(delayed, key=lambda row: row[:2]):
                if self._wait is not None:
                    self._wait(delay_s)
                yield reply
        finally:
            self._pool.abandon(waiting.values(), kill=False)
            for task in waiting.values():
                self._replies.pop(task.message_id, None)
                self._delays.pop(task.message_id, None)

    def _expire(self, waiting: dict[str, Task], timeout: float | None) -> list[Message]:
        late = list(waiting.values())
        waiting.clear()
        code, reason = ErrorCode.REPLY_MESSAGE_UNAVAILABLE, f"client-timeout: none in {timeout:g} s"
        replies = [self._error_reply(task, code, reason) for task in late]
        self._pool.abandon(late, kill=True)
        return replies

    def _enqueue(self, messages: Iterable[Message]) -> list[Task]:
        packed: dict[int, PackedContent] = {}
        tasks = []
        kept = list(messages)
        for message in kept:
            content = packed.get(id(message.content))
            number = next(self._numbers)
            if content is None:
                content = PackedContent(message.content, f"b{number}", self._segments)
                packed[id(message.content)] = content
            tasks.append(self._task(number, message, content))
        self._pool.submit(tasks)
        return tasks

    def _task(self, number: int, message: Message, content: PackedContent) -> Task:
        node_id = message.metadata.dst_node_id
        if node_id not in self._clients:
            raise PhaseError(f"grid: message to node {node_id}, which is not one of the clients")
        name = f"{number:016x}"
        set_message_id(message, name)
        turn = self._turns[node_id] = self._turns.get(node_id, 0) + 1
        when = message.metadata.group_id or f"turn {turn}"
        header = {
            "task": number,
            "node_id": node_id,
            "run_id": self._run.run_id,
            "node_config": self._clients[node_id],
            "run_config": self._run_config,
            "seed": f"{self._seed}/{node_id}/{message.metadata.message_type}/{when}",
        }
        if content.name is not None:
            self._broadcasts.setdefault(content.name, set()).add(number)
        self._messages[number] = message
        data = frames.pack_message(message, content.shadow)
        return Task(number, node_id, frames.json_part(header), data, content.name)

    def _collect(self, finished: Finished) -> None:
        task = finished.task
        self._states[task.node_id] = finished.state
        reply = (
            self._error_reply(task, ErrorCode.CLIENT_APP_CRASHED, finished.failure)
            if finished.failure
            else self._unpack(finished.reply)
        )
        self._forget(task)
        if not task.abandoned:
            set_message_id(reply, f"{task.message_id}-reply")
            if delay_s := take_delay(reply):
                self._delays[task.message_id] = delay_s
            self._replies[task.message_id] = None if is_silent(reply) else reply

    def _unpack(self, data: bytes) -> Message:
        names: set[str] = set()

        def read(name: str, offset: int, size: int) -> bytes:
            names.add(name)
            return self._segments.read(name, offset, size)

        reply = frames.unpack_message(data, read)
        for name in names:
            self._segments.remove(name)
        return reply

    def _error_reply(self, task: Task, code: int, reason: str) -> Message:
        return Message(Error(code, reason), reply_to=self._messages[task.number])

    def _forget(self, task: Task) -> None:
        self._messages.pop(task.number, None)
        if task.broadcast is not None and (users := self._broadcasts.get(task.broadcast)):
            users.discard(task.number)
            if not users:
                del self._broadcasts[task.broadcast]
                self._segments.remove(task.broadcast)
