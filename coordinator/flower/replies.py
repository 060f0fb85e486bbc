"""Checks the replies of one round: which node each is from, and whether it is an error.

Flower's error replies come from the SuperLink for every node, so a reply is attributed by the
message it answers. No content of a reply raises anything but our own ``ContributorError``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# isort: split
from flwr.app import Message, RecordDict

from coordinator.protocol import wire
from coordinator.protocol.errors import ContributorError

_CLIENT_REASON = re.compile(rf"{re.escape(wire.CLIENT_REFUSAL_PREFIX)}([a-z][a-z-]{{0,40}}): ")
_ENGINE_REASON = re.compile(r"(worker-crashed|client-timeout): ")
_MAX_REASON = 300


@dataclass(frozen=True)
class Recipients:
    """The recipients of a round's messages: node by message id."""

    nodes: dict[str, int]
    message_type: str

    @classmethod
    def of(cls, messages: Iterable[Message], message_type: str) -> "Recipients":
        """Return the recipients of messages that were sent: they have no id before."""
        nodes = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
        return cls(nodes, message_type)

    def sender(self, reply: Message) -> str:
        """Return the label of the node that sent a reply."""
        node_id = self.nodes.get(reply.metadata.reply_to_message_id)
        return f"node {reply.metadata.src_node_id if node_id is None else node_id}"

    def unanswered(self, answered: set[str]) -> list[str]:
        """Return the labels of the nodes whose message got no reply, in order of node."""
        return [f"node {n}" for n in sorted(n for m, n in self.nodes.items() if m not in answered)]


def check_reply(reply: Message, recipients: Recipients) -> RecordDict:
    """Return a reply's content if it answers one of the round's messages.

    Raises
    ------
    ContributorError
        ``unsolicited-reply``, ``wrong-sender``, ``wrong-message-type``, ``empty-reply``, the
        client's own code, ``worker-crashed``, ``client-timeout`` or ``client-error``.
    """
    metadata = reply.metadata
    node_id = recipients.nodes.get(metadata.reply_to_message_id)
    if node_id is None:
        raise refusal("unsolicited-reply", "it answers no message of this round")
    if reply.has_error():
        raise _client_error(reply.error.reason or f"code {reply.error.code}, no reason given")
    if metadata.src_node_id != node_id:
        raise refusal("wrong-sender", f"node {metadata.src_node_id} answers for node {node_id}")
    if metadata.message_type != recipients.message_type:
        raise refusal(
            "wrong-message-type",
            f"found {metadata.message_type!r}, expected {recipients.message_type!r}",
        )
    if not reply.has_content() or not reply.content:
        raise refusal("empty-reply", "it has no records")
    return reply.content


def refusal(code: str, detail: str) -> ContributorError:
    """Return the error for a reply that is not a submission."""
    return ContributorError(f"reply: {code}: {detail}", code=code, found=detail)


def _client_error(reason: str) -> ContributorError:
    """Turn the reason of an error reply, a text by its sender, into a refusal."""
    text = "".join(c if c.isprintable() else " " for c in reason)
    match = _CLIENT_REASON.match(text) or _ENGINE_REASON.match(text)
    code = match[1] if match else "client-error"
    detail = text[match.end() if match else 0 :][:_MAX_REASON].strip()
    # The client's message may begin with the prefix and the code, which the refusal repeats.
    return refusal(code, detail.removeprefix("reply: ").replace(f"{code}: ", "", 1))
