"""How the service is: written by its parts, read at once and from any thread by whoever asks."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from coordinator.core import rounds as machine
from coordinator.http.snapshot import ServiceSnapshot

_KEPT_ERRORS: Final = 20


class StatusBoard:
    """Collects what there is to say.

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
        self._hindrances: dict[str, str] = {"service": "starting"}
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

    def observe(self, event: machine.Event, round_id: int) -> None:
        """Follow a round; for ``RoundService``'s observer."""
        name = _PHASES.get(type(event))
        with self._lock:
            self._round_id = round_id
            if name is not None:
                self._phase = name

    def set_phase(self, phase: str) -> None:
        """Say what the service is doing."""
        with self._lock:
            self._phase = phase

    def set_online(self, accounts: Iterable[str]) -> None:
        """Say which bonded contributors are there."""
        with self._lock:
            self._online = tuple(sorted(accounts))

    def hinder(self, what: str, why: str) -> None:
        """Say why rounds cannot run; an empty ``why`` takes it back."""
        with self._lock:
            if not why:
                self._hindrances.pop(what, None)
                return
            if self._hindrances.get(what) != why:
                self._errors.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {what}: {why}")
            self._hindrances[what] = why

    def snapshot(self) -> ServiceSnapshot:
        """Return all of it."""
        children = self._children()
        with self._lock:
            not_ready = [f"{what}: {why}" for what, why in sorted(self._hindrances.items())]
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
