"""Members' requests: which bonded account asks for a blob, proven by its signature."""

import threading
from collections.abc import Callable
from typing import Final

from contracts.reader import FederationReader
from coordinator.core.authorization import parse_read
from coordinator.core.errors import SignatureError
from coordinator.core.statements import check_read
from coordinator.core.types import Address

MAX_AGE_S: Final = 900
"""How far ahead a request may expire: enough for clocks that are minutes apart."""


class Members:
    """Decides whether a request comes from a bonded account; safe to share.

    Parameters
    ----------
    federation
        The contract, which knows who is bonded.
    clock
        Unix time in seconds.
    """

    def __init__(self, federation: FederationReader, clock: Callable[[], float]) -> None:
        self._federation = federation
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_at = -1
        self._bonded: dict[Address, bool] = {}

    def check(self, header: str, blob: bytes) -> Address:
        """Return the bonded account that signed the request.

        Raises
        ------
        SignatureError
            ``not-bonded``, ``expires-too-late``, or any code of ``core.authorization.parse_read``
            and ``core.statements.check_read``.
        ChainUnavailableError
            If the node does not answer.
        """
        signed = parse_read(header, blob)
        now = int(self._clock())
        if signed.statement.expiry > now + MAX_AGE_S:
            raise SignatureError(
                f"expiry {signed.statement.expiry} is more than {MAX_AGE_S} s after {now}, the "
                "time here",
                code="expires-too-late",
            )
        who = check_read(signed, domain=self._federation.domain, blob=blob, now=now)
        if not self._is_bonded(who):
            raise SignatureError(f"{who} has no bond in this federation", code="not-bonded")
        return who

    def _is_bonded(self, who: Address) -> bool:
        head = self._federation.block().number
        with self._lock:
            if head != self._seen_at:
                self._seen_at, self._bonded = head, {}
            known = self._bonded.get(who)
        if known is None:
            known = self._federation.account(who).bond_wei > 0
            with self._lock:
                self._bonded[who] = known
        return known
