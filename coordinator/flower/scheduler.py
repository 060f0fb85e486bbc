"""Decides when there is a round: enough contributors, rounds left, time left."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from coordinator.flower.driver_server import Beat
from coordinator.flower.presence import Attendance, PresenceRegister
from coordinator.local.logs import fields
from coordinator.ports import Ledger
from coordinator.protocol.round.machine import Phase, RoundState
from coordinator.protocol.types import Presence, RoundId, Signed

_COLLECTING: Final = frozenset({Phase.GATHERING, Phase.COLLECTING})
_POLL_S: Final = 0.2
_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Pace:
    """When rounds open and close.

    Attributes
    ----------
    min_online
        Bonded contributors that must be online to open a round.
    rounds
        How many rounds to seal; 0 for no end.
    seal_margin_s
        Seconds before its deadline at which a round is closed, to be sealed in time.
    min_open_s
        Seconds for which the contract requires a round to be open before it is sealed.
    """

    min_online: int
    rounds: int
    seal_margin_s: float
    min_open_s: int


class HasState(Protocol):
    """The part of a round service that the scheduler reads."""

    @property
    def state(self) -> RoundState:
        """The state of the current round."""


class RoundScheduler:
    """A :class:`~coordinator.flower.driver_server.Scheduler` that reads ledger and presence.

    Parameters
    ----------
    service
        The phase of its round decides whether a deadline is running.
    stopping
        Returns whether the service is shutting down; waiting ends then.

    Attributes
    ----------
    is_waiting
        Whether at the last heartbeat too few contributors were online to open a round.
    """

    def __init__(
        self,
        ledger: Ledger,
        service: HasState,
        presence_register: PresenceRegister,
        pace: Pace,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ledger, self._service, self._presence_register = ledger, service, presence_register
        self._pace, self._stopping = pace, stopping
        self._attendance = Attendance({}, (), ())
        self._wanted, self._wanted_at = True, -1
        self.is_waiting = True

    @property
    def attendance(self) -> Attendance:
        """The nodes connected at the last heartbeat."""
        return self._attendance

    @property
    def height(self) -> int:
        """The number of rounds in the live chain of rounds."""
        return self._ledger.round(self._ledger.head().last_sealed).height

    @property
    def is_complete(self) -> bool:
        """Whether all configured rounds are sealed."""
        return bool(self._pace.rounds) and self._pace.rounds <= self.height

    def wants_rounds(self, block: int) -> bool:
        """Return whether there are rounds to run; computed once per newest block."""
        if block != self._wanted_at:
            self._wanted, self._wanted_at = not self.is_complete, block
        return self._wanted

    def beat(self, nodes: Sequence[int]) -> Beat:
        """Return what to do now, given the connected nodes."""
        before, attendance = self._attendance, self._presence_register.attendance(nodes)
        self._attendance = attendance
        if set(attendance.present.values()) != set(before.present.values()):
            _log.info(
                "contributors online",
                extra=fields(online=len(attendance.present), needed=self._pace.min_online),
            )
        self.is_waiting = False
        state = self._service.state
        if state.phase in _COLLECTING:
            left = float(state.deadline - self._ledger.now() - self._pace.seal_margin_s)
            came = state.commitments if state.phase is Phase.GATHERING else state.accepted
            missing = max(0, state.quorum - len(came))
            return Beat(
                False, sorted(attendance.present), attendance.strangers, max(0.0, left), missing
            )
        if self.is_complete:
            return Beat(complete=True)
        enough = len(attendance.present) >= self._pace.min_online
        self.is_waiting = not enough
        return Beat(False, sorted(attendance.present) if enough else (), attendance.strangers)

    def greet(self, signed: Signed[Presence]) -> None:
        """Take a node's presence statement; raises ``ContributorError`` if it is not valid."""
        account = self._presence_register.greet(signed)
        node = signed.statement.node_id
        _log.info("a node speaks for an account", extra=fields(node=node, account=account))

    def wait_until_sealable(self) -> None:
        """Return once the contract lets the open round be sealed."""
        round_id = RoundId(self._service.state.round_id)
        opened_at = self._ledger.round(round_id).opened_at
        while self._ledger.now() < opened_at + self._pace.min_open_s and not self._stopping():
            time.sleep(_POLL_S)
