"""The state of the service: written by its parts, read without waiting from any thread.

Also logs the events of rounds, and writes the file with a running service's addresses.
"""

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from coordinator.http.snapshot import ServiceSnapshot
from coordinator.local.children import ChildStatus
from coordinator.local.files import write_durably
from coordinator.local.logs import fields
from coordinator.protocol.errors import StoreError
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.feed import FeedItem

_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The service's addresses: ``http`` is a URL, ``superlink`` is ``host:port``."""

    http: str
    superlink: str


def service_file(state: Path) -> Path:
    """Return the path of the file with a service's ``pid``, ``http`` and ``superlink``."""
    return state / "run" / "service.json"


def write_service_file(state: Path, where: Addresses) -> None:
    """Write the addresses of this process; a full disk is not an error here."""
    document = json.dumps({"pid": os.getpid(), **asdict(where)}).encode() + b"\n"
    try:
        write_durably(service_file(state), [document], mode=None)
    except StoreError as error:
        _log.error("%s", error)


def state_of(child: ChildStatus) -> str:
    """Return a line about a child process, for ``/status``."""
    if child.state == "running":
        return f"running (pid {child.pid})"
    return f"{child.state} (status {child.returncode}, started {child.starts} times)"


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


def log_round(item: FeedItem) -> None:
    """Log an event of a round; to be subscribed to the rounds' feed."""
    line = _LINES.get(type(item.event))
    if line is not None:
        level, text = line
        _log.log(level, text, extra=fields(round=int(item.round_id), **_details(item.event)))


def _details(event: object) -> dict[str, object]:
    match event:
        case machine.RoundOpened(deadline=deadline):
            return {"deadline": deadline}
        case machine.UpdateAccepted(signed=signed):
            return {"contributor": signed.signer}
        case machine.CommitmentAccepted(signed=commitment):
            return {"contributor": commitment.signer}
        case machine.UpdateRefused():
            return {"sender": event.sender, "code": event.code, "why": event.message}
        case machine.CommitmentsConflicted(contributor=contributor):
            return {"contributor": contributor}
        case machine.Equivocated(first=first):
            return {"contributor": first.signer}
        case machine.RoundVoided(reason=reason):
            return {"reason": reason}
        case _:
            return {}


_KEPT_ERRORS: Final = 20


class ServiceStatus:
    """Collects the service's state from its parts.

    Parameters
    ----------
    children
        Returns each supervised process's state by name.
    """

    def __init__(self, children: Callable[[], dict[str, str]]) -> None:
        self._children = children
        self._lock = threading.Lock()
        self._phase, self._round_id = "starting", 0
        self._online: tuple[str, ...] = ()
        self._out_of_step: tuple[str, ...] = ()
        self._problems: dict[str, str] = {"service": "starting"}
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

    def observe(self, item: FeedItem) -> None:
        """Follow the current round; to be subscribed to the rounds' feed."""
        name = _PHASES.get(type(item.event))
        with self._lock:
            if isinstance(item.event, machine.OpenRequested):
                self._round_id = int(item.round_id)
            if name is not None and item.round_id == self._round_id:
                self._phase = name

    def set_phase(self, phase: str) -> None:
        """Set the service's current activity."""
        with self._lock:
            self._phase = phase

    def set_online(self, accounts: Iterable[str]) -> None:
        """Set the bonded contributors that are online."""
        with self._lock:
            self._online = tuple(sorted(accounts))

    def set_out_of_step(self, accounts: Iterable[str]) -> None:
        """Set the accounts whose replies arrive one round late."""
        with self._lock:
            self._out_of_step = tuple(sorted(accounts))

    def set_problem(self, subject: str, reason: str) -> None:
        """Set the reason why a part cannot work; an empty ``reason`` removes it."""
        with self._lock:
            if not reason:
                self._problems.pop(subject, None)
                return
            if self._problems.get(subject) != reason:
                self._errors.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {subject}: {reason}")
            self._problems[subject] = reason

    def snapshot(self) -> ServiceSnapshot:
        """Return the state now, as plain values."""
        children = self._children()
        with self._lock:
            not_ready = [
                f"{subject}: {reason}" for subject, reason in sorted(self._problems.items())
            ]
            not_ready += [
                f"{name}: {state}"
                for name, state in sorted(children.items())
                if not state.startswith("running")
            ]
            return ServiceSnapshot(
                phase=self._phase,
                round_id=self._round_id,
                online=self._online,
                not_ready=not_ready,
                children=children,
                errors=tuple(self._errors),
                out_of_step=self._out_of_step,
            )


_PHASES: Final[dict[type, str]] = {
    machine.OpenRequested: "opening",
    machine.RoundOpened: "collecting",
    machine.CollectionClosed: "aggregating",
    machine.Aggregated: "sealing",
    machine.RoundSealed: "settling",
    machine.RoundSettled: "settled",
    machine.RoundVoided: "void",
}
