"""The ClientApp that Flower starts once for every message, which it passes on to the daemon.

It has no key, no data, no model and no torch (ADR 90); it asks the participant's daemon over the
socket that the node's configuration names, and returns the daemon's answer. Start it as
``clients.daemon.shim:app``.
"""

import logging
import time
from pathlib import Path
from typing import Final

# isort: split
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from clients.daemon.relay import CALL, SOCKET_SETTING, pack_request, unpack_reply
from coordinator.local.channel import ChannelClient
from coordinator.local.frames import ChannelClosedError, FrameLimits
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.wire import AWAY, CLIENT_REFUSAL_PREFIX

PATIENCE_S: Final = 20.0
"""Seconds in total to wait for a daemon before the message is answered with an error."""
_FAILED_PRECONDITION: Final = 6  # of Flower's error codes
_LIMITS: Final = FrameLimits(max_header_bytes=1 << 24, max_attachment_bytes=1 << 36)
"""For the daemon's answer, which is trusted."""
_log = logging.getLogger(__name__)


class Relay(ClientApp):
    """Answers every message with the daemon's reply."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        super().__init__()
        self._patience_s = patience_s

    def __call__(self, message: Message, context: Context) -> Message:
        """Return the daemon's reply, or an error reply with a stable code."""
        path = context.node_config.get(SOCKET_SETTING)
        if not isinstance(path, str) or not path:
            return _refusal(
                message,
                "client-failure",
                f"node config: {SOCKET_SETTING} is {path!r}, expected text",
            )
        try:
            return self._ask(Path(path), message, context)
        except ChannelClosedError as error:
            return _refusal(message, AWAY, str(error))
        except FedproofError as error:
            return _refusal(message, "client-failure", str(error))

    def _ask(self, path: Path, message: Message, context: Context) -> Message:
        """Ask the daemon, again if it was unavailable: it gives the same answer each time."""
        header, attachments = pack_request(message, context)
        end = time.monotonic() + self._patience_s
        while True:
            try:
                left = max(0.0, end - time.monotonic())
                with ChannelClient(path, _LIMITS, connect_s=left) as daemon:
                    reply = daemon.call(CALL, header, attachments)
                return unpack_reply(reply.args, reply.attachments, message)
            except ChannelClosedError as error:
                if time.monotonic() >= end:
                    raise
                _log.warning("the daemon went away, asking again: %s", error)


def _refusal(message: Message, code: str, detail: str) -> Message:
    reason = f"{CLIENT_REFUSAL_PREFIX}{code}: {detail}"
    return Message(Error(_FAILED_PRECONDITION, reason), reply_to=message)


app = Relay()
