"""How a simulated client that never answers is played without anybody waiting for it."""

from flwr.app import ConfigRecord, Message, RecordDict

_RECORD = "fedproof-simulation.silence"


def silent_reply() -> RecordDict:
    """Return the content by which a ClientApp tells the pool to deliver nothing."""
    return RecordDict({_RECORD: ConfigRecord()})


def is_silent(reply: Message) -> bool:
    """Return whether the pool must keep this reply to itself."""
    return reply.has_content() and set(reply.content) == {_RECORD}
