"""Fetches replies from a SuperLink one object at a time, waiting for none and trusting none.

A node announces a reply first and uploads its objects then; Flower's own ``pull_messages`` waits
for them, node after node, and whatever a stranger's bytes do to its parser ends the run. Here a
reply that is not complete yet is looked at again later, one that cannot be read becomes an error
reply of its own, and no more than one is put together at once.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid import HttpGrid

from coordinator.core.wire import CLIENT_REFUSAL_PREFIX

_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Gets replies."""

    def fetch(self, message_ids: Sequence[str]) -> Iterator[Message]:
        """Yield the replies to these messages that are complete now; wait for none."""


@dataclass
class _Announced:
    """A reply whose objects are being fetched."""

    message_id: str
    object_ids: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)


class WholeReplies:
    """Asks any grid for whole replies: for grids that are not Flower's over HTTP."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def fetch(self, message_ids: Sequence[str]) -> Iterator[Message]:
        """Yield what the grid gives."""
        yield from self._grid.pull_messages(message_ids)


class ObjectwiseReplies:
    """Fetches from a SuperLink, object by object.

    Uses the grid's own connection below its public calls, which offer no way to go on without
    waiting; the version of ``flwr`` is pinned.
    """

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid
        self._announced: dict[str, _Announced] = {}

    def fetch(self, message_ids: Sequence[str]) -> Iterator[Message]:
        """Yield the replies that are complete now, each put together when it is asked for."""
        wanted = [m for m in message_ids if m not in self._announced]
        if wanted:
            self._ask(wanted)
        for message_id in [m for m in message_ids if m in self._announced]:
            reply = self._try(message_id)
            if reply is not None:
                del self._announced[message_id]
                yield reply

    def _ask(self, message_ids: Sequence[str]) -> None:
        request = PullAppMessagesRequest(message_ids=message_ids)
        found = self._client.PullMessages(request)
        for proto, tree in zip(found.messages_list, found.message_object_trees, strict=True):
            objects = list(dict.fromkeys(t.object_id for t in iterate_object_tree(tree)))
            reply_to = proto.metadata.reply_to_message_id
            self._announced[reply_to] = _Announced(proto.metadata.message_id, objects)

    def _try(self, reply_to: str) -> Message | None:
        """Return the reply if all of it is there, or an error reply if it never will be."""
        announced = self._announced[reply_to]
        for object_id in announced.object_ids:
            if object_id not in announced.contents:
                answer = self._pull(object_id)
                if not answer.object_found:
                    return self._error(reply_to, "not-uploaded", f"object {object_id[:16]}")
                if not answer.object_available:
                    return None
                announced.contents[object_id] = bytes(answer.object_content)
        self._confirm(announced.message_id)
        try:
            contents = announced.contents
            message = cast(Message, inflate_object_from_contents(announced.message_id, contents))
            answered = message.metadata.reply_to_message_id
        except Exception as error:  # whatever a stranger's bytes do to Flower's parser
            _log.warning("a reply cannot be read: %s: %s", type(error).__name__, error)
            return self._error(reply_to, "unreadable", type(error).__name__)
        if answered != reply_to:
            return self._error(reply_to, "unreadable", "it says that it answers another message")
        message.metadata.__dict__["_message_id"] = announced.message_id
        return message

    def _pull(self, object_id: str) -> Any:
        request = PullObjectRequest(
            node=self._grid.node, run_id=self._grid.run.run_id, object_id=object_id
        )
        return self._client.PullObject(request)

    def _confirm(self, message_id: str) -> None:
        self._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self._grid.node,
                run_id=self._grid.run.run_id,
                message_object_id=message_id,
            )
        )

    def _error(self, reply_to: str, code: str, detail: str) -> Message:
        metadata = Metadata(
            run_id=self._grid.run.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=SUPERLINK_NODE_ID,
            message_type=SYSTEM_MESSAGE_TYPE,
            group_id="",
            ttl=0,
            reply_to_message_id=reply_to,
            created_at=now().timestamp(),
        )
        reason = f"{CLIENT_REFUSAL_PREFIX}{code}: {detail}"
        return make_message(metadata=metadata, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))

    @property
    def _client(self) -> Any:
        return self._grid._runtime_client


def fetcher_for(grid: Grid) -> Fetcher:
    """Return what fetches a grid's replies best."""
    return ObjectwiseReplies(grid) if isinstance(grid, HttpGrid) else WholeReplies(grid)
