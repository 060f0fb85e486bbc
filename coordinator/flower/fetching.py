"""Fetches replies from a SuperLink one object at a time, waiting for none and trusting none.

A node announces a reply first and uploads its objects then; Flower's own ``pull_messages`` waits
for them, node after node, and whatever a stranger's bytes do to its parser ends the run. Here a
reply that is not complete yet is looked at again later, one that cannot be read becomes an error
reply of its own, and no more than one is put together at once. Of a reply that nobody waits for
any more, nothing is kept.
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
"""Code of a reply that was announced, and whose content the SuperLink has not, and will not get."""
_State = Literal["waiting", "lost", "too-large", "whole"]
_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Gets replies; several may use one, each for messages of its own."""

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield the replies to these messages that are complete now; wait for none.

        One of more than ``most_bytes`` is an error reply; a grid whose replies come whole may
        let it pass.
        """

    def forget(self, message_ids: Sequence[str]) -> None:
        """Keep nothing of the replies to these messages; from now on they may be dropped only."""

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Take forgotten replies that are complete now off the grid, and throw them away.

        Returns to which messages they were, and whether each was more than an error.
        """


@dataclass
class _Announced:
    """A reply whose objects are being fetched; ``contents`` is ``None`` if nothing is kept."""

    message_id: str
    has_content: bool
    missing: deque[str]
    contents: dict[str, bytes] | None = field(default_factory=dict)
    size: int = 0


class WholeReplies:
    """Asks any grid for whole replies: for grids that are not Flower's over HTTP."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield what the grid gives, of whatever size."""
        yield from self._grid.pull_messages(message_ids)

    def forget(self, message_ids: Sequence[str]) -> None:
        """Do nothing: nothing is kept."""

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Fetch what the grid gives, and throw it away."""
        found = self._grid.pull_messages(message_ids)
        return {reply.metadata.reply_to_message_id: reply.has_content() for reply in found}


class ObjectwiseReplies:
    """Fetches from a SuperLink, object by object.

    Uses the grid's own connection below its public calls (ADR 0142).
    """

    def __init__(self, connection: GridConnection) -> None:
        self._connection = connection
        self._announced: dict[str, _Announced] = {}

    def fetch(self, message_ids: Sequence[str], most_bytes: int | None = None) -> Iterator[Message]:
        """Yield the replies that are complete now, each put together when it is asked for."""
        for message_id in self._known(message_ids):
            reply = self._try(message_id, most_bytes)
            if reply is not None:
                self._announced.pop(message_id, None)
                yield reply

    def forget(self, message_ids: Sequence[str]) -> None:
        """Keep nothing of these replies."""
        for message_id in message_ids:
            if message_id in self._announced:
                self._announced[message_id].contents = None

    def drop(self, message_ids: Sequence[str]) -> dict[str, bool]:
        """Confirm those that are uploaded, or never will be.

        Not before: a node whose upload is cut short may wait for its end for ever.
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
        """Return those of the messages to which replies are announced."""
        wanted = [m for m in message_ids if m not in self._announced]
        if wanted:
            self._ask(wanted)
        return [m for m in message_ids if m in self._announced]

    def _ask(self, message_ids: Sequence[str]) -> None:
        for reply in self._connection.announced(message_ids):
            self._announced[reply.replied_message_id] = _Announced(
                reply.message_id, reply.has_content, deque(reply.object_ids)
            )

    def _try(self, reply_to: str, most_bytes: int | None) -> Message | None:
        """Return the reply if all of it is there, or an error reply if it never will be."""
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
        except Exception as error:  # whatever a stranger's bytes do to Flower's parser
            _log.warning("a reply cannot be read: %s: %s", type(error).__name__, error)
            return self._error(reply_to, "unreadable", type(error).__name__)
        if answered != reply_to:
            return self._error(reply_to, "unreadable", "it says that it answers another message")
        set_message_id(message, announced.message_id)
        return message

    def _gather(self, announced: _Announced, most_bytes: int | None = None) -> _State:
        """Fetch what is there and not fetched yet."""
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
    """Return what fetches a grid's replies best."""
    connection = connection_of(grid)
    return WholeReplies(grid) if connection is None else ObjectwiseReplies(connection)


def reconnections_of(grid: Grid) -> Callable[[], int]:
    """Return what tells how often the connection to a grid's SuperLink was lost and is back.

    Flower's client tries again by itself and says so to nobody.
    """
    count = 0

    def count_one() -> None:
        nonlocal count
        count += 1

    connection = connection_of(grid)
    if connection is not None:
        connection.on_reconnect(count_one)
    return lambda: count
