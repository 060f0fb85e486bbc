"""Flower's grid as a stream of replies as they arrive, until all are there or time is up.

Flower's own ``send_and_receive`` returns when the last node has answered, sleeps three seconds at
a time, and holds every reply at once (ADR 93). Here replies are passed on one by one, and the
chain's clock decides when waiting ends. A late reply is removed from the SuperLink too and
discarded. A node that failed for a temporary reason (its daemon, its SuperNode or the SuperLink is
restarting) is asked again while the round has too few replies.

A SuperLink that is killed loses the messages in transit, since it marks a message as delivered
before it sends it: an instruction that no node receives, or a reply that is missing when it is
fetched. A restarted SuperNode loses messages too. So every node that has not answered by then is
asked again, as is a node whose message the SuperLink did not take. A node that is asked twice gives
the same answer twice.
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
"""The SuperLink's own codes; a reason with our prefix is judged by its own code instead."""
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
        Flower's grid.
    seconds_left
        Returns the seconds to wait for more replies; called about once a second.
    fetcher
        Fetches the replies that have arrived.
    enough
        Returns whether the round has enough replies, as of the last call of ``seconds_left``:
        then failed nodes are not asked again.
    life_of
        Returns a value that changes when a node's connection is a new one: the SuperLink was
        unavailable, or the node's SuperNode was restarted.
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
        """Send messages, and yield the replies as they arrive.

        The messages are sent when the first reply is requested. Ends when all nodes have answered,
        after ``timeout`` seconds, or when ``seconds_left`` says so. A temporary error is yielded
        only once the node will not be asked again.
        """
        outstanding, first = _Outstanding(), list(messages)
        self._send(outstanding, first)
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        asked_at = 0.0
        try:
            while outstanding.waiting or outstanding.failed:
                any_arrived = False
                for reply in self._fetcher.fetch(list(outstanding.waiting)):
                    any_arrived = True
                    if self._is_answer(outstanding, reply):
                        yield reply
                now = time.monotonic()
                if now - asked_at >= 1.0 or not outstanding.waiting:
                    asked_at, end = now, min(end, now + self._seconds_left())
                if now >= end or (not outstanding.waiting and self._enough()):
                    break
                if not any_arrived:
                    self._repeat_what_may_be_lost(outstanding)
                    self._ask_again(outstanding)
                    self.drop_late()
                    time.sleep(_POLL_S)
            yield from filter(None, outstanding.failed.values())
        finally:
            self.give_up(outstanding.nodes())

    def _is_answer(self, outstanding: "_Outstanding", reply: Message) -> bool:
        """Take a reply; return whether it is to be yielded.

        A node's second reply is not: both may have arrived before they were fetched.
        """
        if self._late.pop(reply.metadata.reply_to_message_id, None) is not None:
            return False
        is_answer, others = outstanding.take(reply)
        self.give_up(others)
        return is_answer

    def _ask_again(self, outstanding: "_Outstanding") -> None:
        """Send again to nodes that failed and are connected, if the round needs them."""
        if not outstanding.failed or self._enough() or time.monotonic() < outstanding.again_at:
            return
        outstanding.again_at = time.monotonic() + _AGAIN_EVERY_S
        self._repeat(outstanding, set(self._inner.get_node_ids()) & outstanding.failed.keys())

    def _repeat_what_may_be_lost(self, outstanding: "_Outstanding") -> None:
        """Send again to nodes without an answer whose connection is a new one by now.

        The reply to either message is accepted.
        """
        waiting = set(outstanding.nodes().values())
        self._repeat(outstanding, {n for n in waiting if outstanding.lives[n] != self._life_of(n)})

    def _repeat(self, outstanding: "_Outstanding", nodes: Set[int]) -> None:
        messages = outstanding.again(nodes)
        self._send(outstanding, messages)
        for message in messages:
            _log.info("asked again", extra=fields(node=message.metadata.dst_node_id))

    def _send(self, outstanding: "_Outstanding", messages: Sequence[Message]) -> None:
        nodes = [message.metadata.dst_node_id for message in messages]
        outstanding.lives |= {node: self._life_of(node) for node in nodes}
        outstanding.sent(messages, self._push(messages))

    def give_up(self, messages: Mapping[str, int]) -> None:
        """Stop waiting for replies to these messages; ``messages`` maps message id to node."""
        self._fetcher.forget(list(messages))
        self._late.update(messages)

    def drop_late(self) -> None:
        """Remove replies from the grid that are no longer waited for, every few seconds."""
        if not self._late or time.monotonic() < self._late_at:
            return
        self._late_at = time.monotonic() + _LATE_EVERY_S
        some = list(islice(self._late, _LATE_AT_ONCE))
        dropped = self._fetcher.drop(some)
        for number in some:
            node = self._late.pop(number)
            if number not in dropped:
                self._late[number] = node  # at the end, behind those not tried this time
            elif dropped[number]:
                _log.info("a reply came too late", extra=fields(node=node))

    def _push(self, messages: Sequence[Message]) -> Sequence[str]:
        """Send messages; return their ids, empty for one that the grid did not take."""
        numbers = list(self._inner.push_messages(messages)) if messages else []
        numbers += [""] * (len(messages) - len(numbers))
        if refused := numbers.count(""):
            _log.warning("the SuperLink did not take %d of %d messages", refused, len(messages))
        return numbers

    # --- passed on to Flower's grid ------------------------------------------------------------

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


class _Outstanding:
    """The nodes that were asked and have not answered (``waiting``), or failed temporarily.

    ``failed`` maps each failed node to its error, ``None`` if no message reached it; ``lives``
    maps a node to the value of ``life_of`` when it was asked last.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Message] = {}
        self.failed: dict[int, Message | None] = {}
        self.again_at = 0.0
        self.lives: dict[int, Hashable] = {}
        self._messages: dict[int, Message] = {}

    def sent(self, messages: Iterable[Message], numbers: Sequence[str]) -> None:
        """Note messages that were sent, with their ids."""
        for number, message in zip(numbers, messages, strict=True):
            node = message.metadata.dst_node_id
            self._messages.setdefault(node, message)
            if number:
                self.waiting[number] = message
            elif node not in self.nodes().values():
                self.failed[node] = None

    def again(self, nodes: Set[int]) -> list[Message]:
        """Return new messages for these nodes, which no longer count as failed.

        The content is the same; Flower requires a new message for it.
        """
        messages = []
        for node in sorted(nodes):
            self.failed.pop(node, None)
            first = self._messages[node]
            kind, group = first.metadata.message_type, first.metadata.group_id
            messages.append(Message(first.content, node, kind, group_id=group))
        return messages

    def take(self, reply: Message) -> tuple[bool, dict[str, int]]:
        """Take a reply; return whether it is an answer, and the messages made obsolete by it.

        A temporary failure is not an answer. The reply is changed to answer the first message to
        that node, whichever message it was sent for.
        """
        answered = self.waiting.pop(reply.metadata.reply_to_message_id, None)
        if answered is None:
            return True, {}  # an unsolicited reply, which the reader refuses
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
        """Return the nodes that are waited for, by message id."""
        return {number: message.metadata.dst_node_id for number, message in self.waiting.items()}


def passes(reply: Message) -> bool:
    """Return whether a reply is a temporary error."""
    if not reply.has_error():
        return False
    reason = reply.error.reason or ""
    if reason.startswith(wire.CLIENT_REFUSAL_PREFIX):
        return reason.startswith(_PASSING_REASONS)
    return reply.error.code in _PASSING_CODES
