"""Flower's grid, read as a stream: replies as they come, until they are all there or time is up.

Flower's own ``send_and_receive`` returns when the last node has answered, sleeps three seconds at
a time, and holds every reply at once. Here replies are handed on one by one, and the chain's clock
says when the waiting is over. A reply that comes too late is taken off the SuperLink all the same,
so that it does not lie there for ever, and thrown away. Who could not answer for a reason that
passes (a daemon, a SuperNode or the SuperLink that is being started again) is asked again while the
round has too few.

A SuperLink that is killed takes what is on its way with it, for it notes a message as delivered
before it hands it over: an instruction that no node ever sees, or a reply that is gone when it is
asked for. So does a SuperNode that is started again. Whoever had not answered by then is asked
again too, and so is a node whose message the SuperLink did not take. Whoever is asked twice answers
the same twice.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Final

# isort: split
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from coordinator.flower.fetching import NOT_UPLOADED, Fetcher, fetcher_for
from coordinator.flower.internals import ErrorCode, NodeInfo, Run, set_replied_message
from coordinator.local.logs import fields
from coordinator.protocol import wire

_POLL_S: Final = 0.2
_LATE_EVERY_S: Final = 5.0
_LATE_AT_ONCE: Final = 256
_AGAIN_EVERY_S: Final = 3.0
_PASSING_CODES: Final = frozenset(
    {
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    }
)
"""Of what the SuperLink says itself; a reason with a prefix of ours is judged by its own code."""
_PASSING_REASONS: Final = tuple(
    f"{wire.CLIENT_REFUSAL_PREFIX}{code}: "
    for code in (wire.AWAY, wire.CHAIN_UNAVAILABLE, NOT_UPLOADED)
)
_log = logging.getLogger(__name__)


class StreamingGrid(Grid):
    """A grid whose ``send_and_receive`` streams.

    Parameters
    ----------
    inner
        Flower's.
    seconds_left
        How much longer to wait for replies; asked about once a second.
    fetcher
        Gets what has come.
    enough
        Whether the round has as many as it needs: who failed is not asked again then. As of the
        last call of ``seconds_left``.
    life_of
        Something that changes when the way to a node is a new one: the SuperLink was away, or the
        node's SuperNode was started again.
    """

    def __init__(
        self,
        inner: Grid,
        seconds_left: Callable[[], float],
        fetcher: Fetcher | None = None,
        enough: Callable[[], bool] = lambda: True,
        life_of: Callable[[int], Hashable] = lambda _node: 0,
    ) -> None:
        self._inner, self._seconds_left, self._enough = inner, seconds_left, enough
        self._life_of = life_of
        self._fetcher = fetcher or fetcher_for(inner)
        self._late: dict[str, int] = {}
        self._late_at = 0.0
        super().__init__()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages, and yield the replies as they come.

        They are sent when the first reply is asked for. Ends when all have answered, when
        ``timeout`` seconds have passed, or when ``seconds_left`` says so. An error that passes is
        yielded only when the node will not be asked again.
        """
        asking, first = _Asking(), list(messages)
        self._send(asking, first)
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        asked = 0.0
        try:
            while asking.waiting or asking.failed:
                found = False
                for reply in self._fetcher.fetch(list(asking.waiting)):
                    found = True
                    if self._is_answer(asking, reply):
                        yield reply
                now = time.monotonic()
                if now - asked >= 1.0 or not asking.waiting:
                    asked, end = now, min(end, now + self._seconds_left())
                if now >= end or (not asking.waiting and self._enough()):
                    break
                if not found:
                    self._repeat_what_may_be_lost(asking)
                    self._ask_again(asking)
                    self.drop_late()
                    time.sleep(_POLL_S)
            yield from filter(None, asking.failed.values())
        finally:
            self.give_up(asking.nodes())

    def _is_answer(self, asking: "_Asking", reply: Message) -> bool:
        """Take a reply; return whether it is to be handed on.

        The second to the same node is not: both may have been there when it was asked for them.
        """
        if self._late.pop(reply.metadata.reply_to_message_id, None) is not None:
            return False
        is_answer, others = asking.take(reply)
        self.give_up(others)
        return is_answer

    def _ask_again(self, asking: "_Asking") -> None:
        """Send to those that failed and are connected again, if the round needs them."""
        if not asking.failed or self._enough() or time.monotonic() < asking.again_at:
            return
        asking.again_at = time.monotonic() + _AGAIN_EVERY_S
        self._repeat(asking, set(self._inner.get_node_ids()) & asking.failed.keys())

    def _repeat_what_may_be_lost(self, asking: "_Asking") -> None:
        """Send once more to all who have not answered and are in another life by now.

        The reply to either message will do.
        """
        waiting = set(asking.nodes().values())
        self._repeat(asking, {n for n in waiting if asking.lives[n] != self._life_of(n)})

    def _repeat(self, asking: "_Asking", nodes: Set[int]) -> None:
        messages = asking.again(nodes)
        self._send(asking, messages)
        for message in messages:
            _log.info("asked again", extra=fields(node=message.metadata.dst_node_id))

    def _send(self, asking: "_Asking", messages: Sequence[Message]) -> None:
        nodes = [message.metadata.dst_node_id for message in messages]
        asking.lives |= {node: self._life_of(node) for node in nodes}
        asking.sent(messages, self._push(messages))

    def give_up(self, messages: Mapping[str, int]) -> None:
        """Wait for these messages' replies no more; ``messages`` gives the node of each."""
        self._fetcher.forget(list(messages))
        self._late.update(messages)

    def drop_late(self) -> None:
        """Take replies off the grid that are not waited for; now and then, not each time."""
        if not self._late or time.monotonic() < self._late_at:
            return
        self._late_at = time.monotonic() + _LATE_EVERY_S
        some = list(islice(self._late, _LATE_AT_ONCE))
        dropped = self._fetcher.drop(some)
        for number in some:
            node = self._late.pop(number)
            if number not in dropped:
                self._late[number] = node  # behind those that were not asked about now
            elif dropped[number]:
                _log.info("a reply came too late", extra=fields(node=node))

    def _push(self, messages: Sequence[Message]) -> Sequence[str]:
        """Send messages; return their numbers, empty where the grid did not take one."""
        numbers = list(self._inner.push_messages(messages)) if messages else []
        numbers += [""] * (len(messages) - len(numbers))
        if refused := numbers.count(""):
            _log.warning("the SuperLink did not take %d of %d messages", refused, len(messages))
        return numbers

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


class _Asking:
    """Who was asked and has not answered (``waiting``), or failed for the time being.

    ``failed`` gives the error of each such node, ``None`` where it was never reached; ``lives`` in
    which life a node was asked last.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Message] = {}
        self.failed: dict[int, Message | None] = {}
        self.again_at = 0.0
        self.lives: dict[int, Hashable] = {}
        self._messages: dict[int, Message] = {}

    def sent(self, messages: Iterable[Message], numbers: Sequence[str]) -> None:
        """Note what was sent."""
        for number, message in zip(numbers, messages, strict=True):
            node = message.metadata.dst_node_id
            self._messages.setdefault(node, message)
            if number:
                self.waiting[number] = message
            elif node not in self.nodes().values():
                self.failed[node] = None

    def again(self, nodes: Set[int]) -> list[Message]:
        """Return messages for these nodes, which have not failed any more.

        What they are asked is the same; Flower wants a message of its own for it.
        """
        messages = []
        for node in sorted(nodes):
            self.failed.pop(node, None)
            first = self._messages[node]
            kind, group = first.metadata.message_type, first.metadata.group_id
            messages.append(Message(first.content, node, kind, group_id=group))
        return messages

    def take(self, reply: Message) -> tuple[bool, dict[str, int]]:
        """Take a reply; return whether it is an answer, and what need not be waited for any more.

        It is none if it is a failure that passes, or if the same was asked twice and the other
        message may still be answered. Whatever message it answers, it then says that it answers the
        first to that node.
        """
        answered = self.waiting.pop(reply.metadata.reply_to_message_id, None)
        if answered is None:
            return True, {}  # to be refused by whoever reads it
        node = answered.metadata.dst_node_id
        others = {number: n for number, n in self.nodes().items() if n == node}
        set_replied_message(reply, self._messages[node].metadata.message_id)
        if passes(reply):
            if not others:
                self.failed[node] = reply
            return False, {}
        for number in others:
            del self.waiting[number]
        return True, others

    def nodes(self) -> dict[str, int]:
        """Return the nodes that are waited for, by the number of the message."""
        return {number: message.metadata.dst_node_id for number, message in self.waiting.items()}


def passes(reply: Message) -> bool:
    """Return whether a reply is an error whose cause goes away by itself."""
    if not reply.has_error():
        return False
    reason = reply.error.reason or ""
    if reason.startswith(wire.CLIENT_REFUSAL_PREFIX):
        return reason.startswith(_PASSING_REASONS)
    return reply.error.code in _PASSING_CODES
