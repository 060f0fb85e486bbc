"""What must happen on time whether or not a round runs: answers, finality, the nodes' registry.

One thread, which takes turns with the rounds. What fails is told and tried again; an answer that
is not given in time costs the coordinator its bond, so those come first.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.core.errors import FedproofError
from coordinator.local.logs import fields

_log = logging.getLogger("fedproof.coordinator")


@dataclass
class Duty:
    """Something to do every ``every_s`` seconds."""

    name: str
    do: Callable[[], None]
    every_s: float
    next_at: float = 0.0


class Upkeep:
    """Does its duties in order, each when it is due, until it is stopped.

    Parameters
    ----------
    complain
        Told of a duty's failure, and with an empty text of its next success.

    Raises
    ------
    ValueError
        If two duties have one name: each would take back what the other complained of.
    """

    def __init__(self, duties: Sequence[Duty], complain: Callable[[str, str], None]) -> None:
        self._duties, self._complain = list(duties), complain
        names = [duty.name for duty in self._duties]
        if len(set(names)) < len(names):
            raise ValueError(f"duties {sorted(names)}: expected a name of its own for each")
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedproof-upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, within_s: float) -> bool:
        """End after the duty in hand; return whether it came to an end in time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for duty in self._duties:
                if not self._stopping.is_set() and time.monotonic() >= duty.next_at:
                    self._do(duty)
            soonest = min(duty.next_at for duty in self._duties)
            self._stopping.wait(max(0.05, soonest - time.monotonic()))

    def _do(self, duty: Duty) -> None:
        try:
            duty.do()
        except FedproofError as error:
            if duty.name not in self._failing:
                _log.error("%s: %s", duty.name, error, extra=fields(duty=duty.name))
            self._failing.add(duty.name)
            self._complain(duty.name, str(error))
        except Exception as error:  # a defect in one duty must not stop the others
            _log.exception("%s: a defect", duty.name)
            self._failing.add(duty.name)
            self._complain(duty.name, f"{type(error).__name__}: {error}")
        else:
            if duty.name in self._failing:
                self._failing.discard(duty.name)
                _log.info("%s: works again", duty.name, extra=fields(duty=duty.name))
                self._complain(duty.name, "")
        duty.next_at = time.monotonic() + duty.every_s
