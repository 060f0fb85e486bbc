"""Fetches replies from a SuperLink one object at a time, without waiting for or trusting a node.

A node first announces a reply and then uploads its objects. Flower's own ``pull_messages`` waits
for them, node after node, and any error of its parser on a node's bytes ends the run. Here an
incomplete reply is read again later, a malformed one becomes an error reply, and only one is
assembled at a time. Nothing is kept of a reply that is no longer waited for (ADR 93).
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

# isort: split
from flwr.app import Message
from flwr.serverapp import Grid

from coordinator.flower.internals import (
    GridConnection,
    assembled,
    connection_of,
    error_reply,
    set_message_id,
)
from coordinator.protocol.wire import CLIENT_REFUSAL_PREFIX

NOT_UPLOADED: Final = "not-uploaded"
"""Code of a reply that was announced but whose content will never be uploaded."""
_State = Literal["waiting", "lost", "too-large", "whole"]
_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Fetches replies; may be shared by callers that each ask for other messages."""

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield the replies to these messages that are complete now, without waiting.

        A reply of more than ``most_bytes`` becomes an error reply, except on a grid that delivers
        whole replies.
        """

    def forget(self, message_ids: Sequence[str]) -> None:
        """Discard what was fetched of the replies to these messages; only ``drop`` may follow."""

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Remove forgotten replies that are complete now from the grid, and discard them.

        Returns, by the id of the message each replied to, whether it was more than an error.
        """


@dataclass
class _Announced:
    """A reply whose objects are being fetched; ``contents`` is ``None`` once it is forgotten."""

    message_id: str
    has_content: bool
    missing: deque[str]
    contents: dict[str, bytes] | None = field(default_factory=dict)
    size: int = 0


class WholeReplies:
    """Fetches whole replies, from any grid that is not Flower's over HTTP."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield the grid's replies, of any size."""
        yield from self._grid.pull_messages(message_ids)

    def forget(self, message_ids: Sequence[str]) -> None:
        """Do nothing: nothing is kept."""

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Fetch the grid's replies, and discard them."""
        replies = self._grid.pull_messages(message_ids)
        return {reply.metadata.reply_to_message_id: reply.has_content() for reply in replies}


class ObjectwiseReplies:
    """Fetches replies from a SuperLink, object by object.

    Uses the grid's connection below its public calls (ADR 142): ``pull_messages`` waits up to two
    hours for a node that uploads nothing (ADR 93).
    """

    def __init__(self, connection: GridConnection) -> None:
        self._connection = connection
        self._announced: dict[str, _Announced] = {}

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield the replies that are complete now, each assembled when the caller takes it."""
        for message_id in self._known(message_ids):
            reply = self._try(message_id, most_bytes)
            if reply is not None:
                self._announced.pop(message_id, None)
                yield reply

    def forget(self, message_ids: Sequence[str]) -> None:
        """Discard what was fetched of these replies."""
        for message_id in message_ids:
            if message_id in self._announced:
                self._announced[message_id].contents = None

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Confirm the replies that are uploaded, or never will be.

        Confirmed no earlier: a node whose upload is interrupted may wait for its end for ever
        (ADR 93).
        """
        dropped = {}
        for message_id in self._known(message_ids):
            announced = self._announced[message_id]
            announced.contents = None
            if self._gather(announced) != "waiting":
                self._connection.confirm(announced.message_id)
                del self._announced[message_id]
                dropped[message_id] = announced.has_content
        return dropped

    def _known(self, message_ids: Sequence[str]) -> list[str]:
        """Return the messages to which replies have been announced."""
        unknown = [m for m in message_ids if m not in self._announced]
        if unknown:
            self._ask(unknown)
        return [m for m in message_ids if m in self._announced]

    def _ask(self, message_ids: Sequence[str]) -> None:
        for reply in self._connection.announced(message_ids):
            self._announced[reply.replied_message_id] = _Announced(
                reply.message_id, reply.has_content, deque(reply.object_ids)
            )

    def _try(self, reply_to: str, most_bytes: int | None) -> Message | None:
        """Return the reply if it is complete, an error reply if it never will be, else ``None``."""
        announced = self._announced[reply_to]
        state = self._gather(announced, most_bytes)
        contents = announced.contents or {}
        if state == "waiting":
            return None
        if state == "lost":
            return self._error(reply_to, NOT_UPLOADED, f"object {announced.missing[0][:16]}")
        self._connection.confirm(announced.message_id)
        if state == "too-large":
            detail = f"{announced.size} bytes or more, at most {most_bytes}"
            return self._error(reply_to, "too-large", detail)
        try:
            message = assembled(announced.message_id, contents)
            answered = message.metadata.reply_to_message_id
        except Exception as error:  # any error of Flower's parser on a node's bytes
            _log.warning("a reply cannot be read: %s: %s", type(error).__name__, error)
            return self._error(reply_to, "unreadable", type(error).__name__)
        if answered != reply_to:
            return self._error(reply_to, "unreadable", "it says that it answers another message")
        set_message_id(message, announced.message_id)
        return message

    def _gather(self, announced: _Announced, most_bytes: int | None = None) -> _State:
        """Fetch the uploaded objects that were not fetched yet."""
        while announced.missing:
            object_id = announced.missing[0]
            answer = self._connection.pull(object_id)
            if not answer.object_found:
                return "lost"
            if not answer.object_available:
                return "waiting"
            announced.missing.popleft()
            announced.size += len(answer.object_content)
            if most_bytes is not None and announced.size > most_bytes:
                return "too-large"
            if announced.contents is not None:
                announced.contents[object_id] = bytes(answer.object_content)
        return "whole"

    def _error(self, reply_to: str, code: str, detail: str) -> Message:
        reason = f"{CLIENT_REFUSAL_PREFIX}{code}: {detail}"
        return error_reply(self._connection.run_id, reply_to, reason)


def fetcher_for(grid: Grid) -> Fetcher:
    """Return the best fetcher for a grid's replies."""
    connection = connection_of(grid)
    return WholeReplies(grid) if connection is None else ObjectwiseReplies(connection)


def reconnections_of(grid: Grid) -> Callable[[], int]:
    """Return a counter of the times that the connection to a grid's SuperLink was re-established.

    Flower's client reconnects by itself without reporting it.
    """
    count = 0

    def count_one() -> None:
        nonlocal count
        count += 1

    connection = connection_of(grid)
    if connection is not None:
        connection.on_reconnect(count_one)
    return lambda: count
