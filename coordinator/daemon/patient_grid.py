"""Flower's grid, read as a stream: replies as they come, until they are all there or time is up.

Flower's own ``send_and_receive`` returns when the last node has answered, sleeps three seconds at
a time, and holds every reply at once. Here replies are handed on one by one, and the chain's clock
says when the waiting is over. A reply that comes too late is fetched all the same, so that it does
not lie in the SuperLink for ever, and dropped.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from coordinator.daemon.fetching import Fetcher, fetcher_for
from coordinator.local.logs import fields

_POLL_S: Final = 0.2
_LATE_EVERY_S: Final = 5.0
_log = logging.getLogger(__name__)


class PatientGrid(Grid):
    """A grid whose ``send_and_receive`` streams.

    Parameters
    ----------
    inner
        Flower's.
    seconds_left
        How much longer to wait for replies; asked about once a second.
    fetcher
        Gets what has come.
    """

    def __init__(
        self, inner: Grid, seconds_left: Callable[[], float], fetcher: Fetcher | None = None
    ) -> None:
        self._inner, self._seconds_left = inner, seconds_left
        self._fetcher = fetcher or fetcher_for(inner)
        self._late: dict[str, int] = {}
        self._late_at = 0.0
        super().__init__()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages, and yield the replies as they come.

        They are sent when the first reply is asked for. Ends when all have answered, when
        ``timeout`` seconds have passed, or when ``seconds_left`` says so.
        """
        sent = list(messages)
        waiting = self._push(sent)
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        asked = 0.0
        try:
            while waiting:
                found = False
                for reply in self._fetcher.fetch(list(waiting)):
                    found = True
                    waiting.pop(reply.metadata.reply_to_message_id, None)
                    yield reply
                now = time.monotonic()
                if now - asked >= 1.0:
                    asked, end = now, min(end, now + self._seconds_left())
                if now >= end:
                    return
                if not found:
                    self.drop_late()
                    time.sleep(_POLL_S)
        finally:
            self._late.update(waiting)

    def drop_late(self) -> None:
        """Fetch and forget replies to messages whose time is up; now and then, not each time."""
        if not self._late or time.monotonic() < self._late_at:
            return
        self._late_at = time.monotonic() + _LATE_EVERY_S
        for reply in self._fetcher.fetch(list(self._late)):
            node = self._late.pop(reply.metadata.reply_to_message_id, None)
            if reply.has_content():
                _log.info("a reply came too late", extra=fields(node=node))

    def _push(self, messages: Sequence[Message]) -> dict[str, int]:
        """Send messages; return the nodes by the number of the message to each."""
        if not messages:
            return {}
        pushed = list(self._inner.push_messages(messages))
        return {
            message_id: message.metadata.dst_node_id
            for message_id, message in zip(pushed, messages, strict=False)
            if message_id
        }

    # --- the rest is Flower's ------------------------------------------------------------------

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._inner.set_run(run)

    @property
    def run(self) -> Run:
        """Run information."""
        return self._inner.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; deprecated by Flower itself."""
        return self._inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the connected nodes."""
        return self._inner.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the connected nodes with what is known of them."""
        return self._inner.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Fetch replies."""
        return self._inner.pull_messages(message_ids)
