"""Says why peers were refused: enough to act on, never so much that it fills a disk."""

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Final

from coordinator.http.listener import Seldom

QUIET_S: Final = 30.0
"""How long the same is not said again of the same peer."""
_log = logging.getLogger(__name__)


class Complaints:
    """Logs refusals, each reason of a peer once in a while.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seldom = Seldom(monotonic, QUIET_S)

    def say(self, peer: str, key: bytes, path: str, reason: str) -> None:
        """Log that a call was refused.

        Parameters
        ----------
        peer
            The address it came from.
        key
            The node's public key as it was sent, empty if none was: its digest names the node.
        path, reason
            What was called, and why that was refused.
        """
        if not self._seldom.is_news(peer, reason):
            return
        node = f"key {hashlib.sha256(key).hexdigest()[:16]}" if key else "no key"
        _log.warning("refused %s of %s (%s): %s", path.rsplit("/", 1)[-1], peer, node, reason)
