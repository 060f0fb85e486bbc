"""Tells what happens in rounds: to the log, to the status board, to the counters."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from coordinator.core import rounds as machine
from coordinator.local.logs import fields

_log = logging.getLogger("fedproof.coordinator")

_LINES: Final[dict[type[Any], tuple[int, str]]] = {
    machine.RoundOpened: (logging.INFO, "round opened"),
    machine.UpdatesCommitted: (logging.INFO, "commitments on chain"),
    machine.UpdateAccepted: (logging.INFO, "update accepted"),
    machine.CommitmentAccepted: (logging.INFO, "commitment accepted"),
    machine.UpdateRefused: (logging.WARNING, "submission refused"),
    machine.CommitmentsConflicted: (logging.WARNING, "two commitments of one contributor"),
    machine.Equivocated: (logging.WARNING, "two updates of one contributor"),
    machine.RoundSealed: (logging.INFO, "round sealed"),
    machine.RoundSettled: (logging.INFO, "round settled"),
    machine.RoundVoided: (logging.WARNING, "round void"),
}


class Narrator:
    """An observer for ``RoundService`` that tells everybody.

    Parameters
    ----------
    round_id
        Returns the round in hand.
    listeners
        Told of every event, with the round it belongs to.
    """

    def __init__(self, listeners: Sequence[Callable[[machine.Event, int], None]]) -> None:
        self._listeners = list(listeners)
        self.round_id: Callable[[], int] = lambda: 0

    def __call__(self, event: machine.Event) -> None:
        """Tell of an event."""
        round_id = self.round_id()
        for listener in self._listeners:
            listener(event, round_id)
        line = _LINES.get(type(event))
        if line is not None:
            level, text = line
            _log.log(level, text, extra=fields(round=round_id, **_details(event)))


def _details(event: machine.Event) -> dict[str, object]:
    match event:
        case machine.RoundOpened(deadline=deadline):
            return {"deadline": deadline}
        case machine.UpdateAccepted(signed=signed):
            return {"contributor": signed.contributor}
        case machine.CommitmentAccepted(signed=commitment):
            return {"contributor": commitment.signer}
        case machine.UpdateRefused():
            return {"sender": event.sender, "code": event.code, "why": event.message}
        case machine.CommitmentsConflicted(contributor=contributor):
            return {"contributor": contributor}
        case machine.Equivocated(first=first):
            return {"contributor": first.contributor}
        case machine.RoundVoided(reason=reason):
            return {"reason": reason}
        case _:
            return {}
