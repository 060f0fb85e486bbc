"""Sorts the replies of one round: who answered, with what, and what is wrong with it.

Flower's error replies come from the SuperLink, whatever node they are about, so a reply is
attributed by the message it answers. Nothing a reply holds can raise out of here except our own
``ContributorError``.
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
class Addressed:
    """Which node each message of a round went to."""

    nodes: dict[str, int]
    message_type: str

    @classmethod
    def of(cls, messages: Iterable[Message], message_type: str) -> "Addressed":
        """Read the messages after they were sent: only then do they have ids."""
        nodes = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
        return cls(nodes, message_type)

    def sender(self, reply: Message) -> str:
        """Return a label for whoever this reply is from."""
        node_id = self.nodes.get(reply.metadata.reply_to_message_id)
        return f"node {reply.metadata.src_node_id if node_id is None else node_id}"

    def unanswered(self, answered: set[str]) -> list[str]:
        """Return the labels of the nodes whose message got no reply, in order of node."""
        return [f"node {n}" for n in sorted(n for m, n in self.nodes.items() if m not in answered)]


def check_reply(reply: Message, addressed: Addressed) -> RecordDict:
    """Return a reply's content if it answers one of the round's messages at all.

    Raises
    ------
    ContributorError
        ``unsolicited-reply``, ``wrong-sender``, ``wrong-message-type``, ``empty-reply``, the
        code a client declined with, ``worker-crashed``, ``client-timeout`` or ``client-error``.
    """
    metadata = reply.metadata
    node_id = addressed.nodes.get(metadata.reply_to_message_id)
    if node_id is None:
        raise refusal("unsolicited-reply", "it answers no message of this round")
    if reply.has_error():
        raise _client_error(reply.error.reason or f"code {reply.error.code}, no reason given")
    if metadata.src_node_id != node_id:
        raise refusal("wrong-sender", f"node {metadata.src_node_id} answers for node {node_id}")
    if metadata.message_type != addressed.message_type:
        raise refusal(
            "wrong-message-type",
            f"found {metadata.message_type!r}, expected {addressed.message_type!r}",
        )
    if not reply.has_content() or not reply.content:
        raise refusal("empty-reply", "it has no records")
    return reply.content


def refusal(code: str, detail: str) -> ContributorError:
    """Return the error for a reply that is not a submission."""
    return ContributorError(f"reply: {code}: {detail}", code=code, found=detail)


def _client_error(reason: str) -> ContributorError:
    """Turn the reason of an error reply, which is the sender's own text, into a refusal."""
    text = "".join(c if c.isprintable() else " " for c in reason)
    found = _CLIENT_REASON.match(text) or _ENGINE_REASON.match(text)
    code = found[1] if found else "client-error"
    detail = text[found.end() if found else 0 :][:_MAX_REASON].strip()
    # a client's own message may say what the refusal says again: that it is a reply, and the code
    return refusal(code, detail.removeprefix("reply: ").replace(f"{code}: ", "", 1))
