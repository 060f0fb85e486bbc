"""Marks replies of simulated clients that answer late or never, so that the pool does not wait."""

from flwr.app import ConfigRecord, Message, RecordDict

_SILENCE = "fedproof-simulation.silence"
_DELAY = "fedproof-simulation.delay"


def silent_reply() -> RecordDict:
    """Return the content with which a ClientApp tells the pool to deliver no reply."""
    return RecordDict({_SILENCE: ConfigRecord()})


def is_silent(reply: Message) -> bool:
    """Return whether the pool must not deliver this reply."""
    return reply.has_content() and set(reply.content) == {_SILENCE}


def delayed_reply(content: RecordDict, delay_s: int) -> RecordDict:
    """Return the content marked as sent ``delay_s`` chain seconds after the round's opening."""
    return RecordDict({**content, _DELAY: ConfigRecord({"seconds": delay_s})})


def take_delay(reply: Message) -> int:
    """Remove the mark from a reply and return its delay in seconds of chain time, 0 without one."""
    if not reply.has_content() or _DELAY not in reply.content:
        return 0
    mark = reply.content.config_records[_DELAY]
    del reply.content[_DELAY]
    return int(str(mark["seconds"]))
