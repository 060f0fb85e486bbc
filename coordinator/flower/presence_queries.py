"""Asks every node that connects for a signed statement of the account it belongs to.

A node without a valid answer is asked again every minute while it is connected, so answers are
limited to far less than a model's size, and an abandoned answer leaves nothing in memory.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

# isort: split
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from coordinator.flower.driver_client import DriverClient
from coordinator.flower.fetching import Fetcher
from coordinator.flower.records import read_presence
from coordinator.flower.replies import Recipients, check_reply
from coordinator.protocol import wire
from coordinator.protocol.errors import ContributorError

AGAIN_S: Final = 60.0
PATIENCE_S: Final = 300.0
"""Seconds to wait for an answer: a node may be training, or its machine busy."""
ANSWER_BYTES: Final = 64 << 10
"""An answer has an account, a time and a signature: a few hundred bytes."""


class PresenceQueries:
    """Asks nodes for presence statements, without waiting for any of them.

    Parameters
    ----------
    driver
        Checks the answers, and logs those that are refused.
    fetcher
        Fetches them.
    give_up
        Called with the messages whose answers are no longer waited for: node by message id.
    """

    def __init__(
        self,
        driver: DriverClient,
        grid: Grid,
        fetcher: Fetcher,
        give_up: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._driver, self._grid, self._fetcher = driver, grid, fetcher
        self._give_up = give_up
        self._asked: dict[str, Message] = {}
        self._until: dict[str, float] = {}
        self._again: dict[int, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether a node may still answer."""
        return bool(self._asked)

    def ask(self, nodes: Sequence[int]) -> None:
        """Ask nodes that have not been asked within the last minute."""
        now = time.monotonic()
        self._again = {n: t for n, t in self._again.items() if t > now}
        new = [n for n in nodes if n not in self._again]
        if not new:
            return
        content = RecordDict({wire.HELLO: ConfigRecord({"version": wire.WIRE_VERSION})})
        messages = [Message(content, n, MessageType.QUERY, group_id="hello") for n in new]
        pushed = list(self._grid.push_messages(messages))
        for message_id, message in zip(pushed, messages, strict=False):
            self._again[message.metadata.dst_node_id] = now + AGAIN_S
            if message_id:
                self._asked[message_id] = message
                self._until[message_id] = now + PATIENCE_S

    def take(self) -> None:
        """Pass on the answers that have arrived."""
        if not self._asked:
            return
        recipients = Recipients.of(self._asked.values(), MessageType.QUERY)
        for reply in self._fetcher.fetch(list(self._asked), ANSWER_BYTES):
            query = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if query is None:
                continue
            node = query.metadata.dst_node_id
            try:
                content = check_reply(reply, recipients)
                self._driver.greet(read_presence(content, node))
                self._again.pop(node, None)
            except ContributorError as error:
                self._driver.refuse_presence(node, error)
        self._give_up_old()

    def _give_up_old(self) -> None:
        now = time.monotonic()
        self._until = {m: t for m, t in self._until.items() if m in self._asked}
        old = {
            m: self._asked.pop(m).metadata.dst_node_id for m, t in self._until.items() if t < now
        }
        if old:
            self._give_up(old)
