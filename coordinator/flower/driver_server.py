"""The service's end of the driver: what the ServerApp may ask for, over the Unix socket.

One ServerApp at a time. A run gets a token when it is started; attaching with it takes the lease,
and every later call must show the lease. A ServerApp of an earlier run, still alive somewhere, has
neither: it can no longer open, feed or close a round.

What goes wrong here goes back as a typed error, and leaves nothing half done that the next
``open_round`` does not put right from ledger and store.
"""

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from coordinator.flower import driver_wire as wire
from coordinator.local.channel import Handler, Peer, Reply, Request
from coordinator.local.frames import FrameLimits
from coordinator.local.logs import fields
from coordinator.ports import RoundDriver
from coordinator.protocol.errors import ContributorError, FedproofError, PhaseError
from coordinator.protocol.types import JsonObject, Presence, Signed

_HEADER_BYTES: Final = 4 << 20
"""Of one call: metrics, or the commitments document of a large round."""
_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Beat:
    """What the loop in the ServerApp is told each time it asks.

    Attributes
    ----------
    complete
        All rounds that were asked for are done: the loop may end.
    cohort
        Nodes to ask in the next round; empty while too few contributors are there.
    strangers
        Connected nodes that have not said yet whom they speak for.
    seconds_left
        Until the open round must be closed, by the chain's clock; 0 where none is open.
    missing
        How many contributors the open round lacks; it would be void with fewer.
    """

    complete: bool
    cohort: Sequence[int] = ()
    strangers: Sequence[int] = ()
    seconds_left: float = 0.0
    missing: int = 0


class Scheduler(Protocol):
    """What decides when there is a round, besides the driver itself."""

    def beat(self, nodes: Sequence[int]) -> Beat:
        """Say what to do now, with these nodes connected."""

    def greet(self, signed: Signed[Presence]) -> None:
        """Take a node's presence statement; raises ``ContributorError`` if it does not hold."""

    def wait_until_sealable(self) -> None:
        """Return once the contract lets the open round be sealed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may drive now: ``run_id`` is Flower's, ``number`` counts the attached ServerApps."""

    number: int
    run_id: int
    peer: Peer


class DriverServer:
    """Answers one ServerApp's calls.

    Parameters
    ----------
    driver, conductor
        Not thread-safe: called under ``lock`` only (but for waiting).
    dimension
        *d*; nothing longer is received.
    hello
        Told to a ServerApp that attaches: what it needs to know once.
    on_detach
        Called when the ServerApp that holds the lease has gone.
    report_problem
        Told why rounds do not go on, and with an empty text when they do.
    """

    def __init__(
        self,
        driver: RoundDriver,
        scheduler: Scheduler,
        lock: threading.RLock,
        dimension: int,
        hello: JsonObject,
        on_detach: Callable[[Lease], None] = lambda _lease: None,
        report_problem: Callable[[str, str], None] = lambda _what, _why: None,
    ) -> None:
        self._driver, self._scheduler, self._lock = driver, scheduler, lock
        self._dimension, self._hello, self._on_detach = dimension, hello, on_detach
        self._report_problem, self._problem = report_problem, ""
        self._token = ""
        self._lease: Lease | None = None
        self._count = 0
        self._last_call = time.monotonic()
        self._in_call = 0

    # --- the engine's side -----------------------------------------------------------------

    def new_token(self) -> str:
        """Return the token of the run that is about to start; all earlier ones are void."""
        with self._lock:
            self._token = secrets.token_hex(16)
            self._lease = None
            return self._token

    @property
    def lease(self) -> Lease | None:
        """Who drives now."""
        return self._lease

    @property
    def silent_s(self) -> float:
        """Seconds since the ServerApp's last call ended."""
        return time.monotonic() - self._last_call

    @property
    def is_idle(self) -> bool:
        """Whether no call is being answered: a long one is no silence."""
        return self._in_call == 0

    @property
    def limits(self) -> FrameLimits:
        """What one call may bring."""
        return FrameLimits(_HEADER_BYTES, 4 * self._dimension + 4_096)

    def handlers(self) -> dict[str, Handler]:
        """Return the calls by name."""
        leased: dict[str, Callable[[Request], Reply]] = {
            "beat": self._beat,
            "greet": self._greet,
            "open_round": self._open_round,
            "commit": self._commit,
            "close_commitments": self._close_commitments,
            "submit": self._submit,
            "refuse": self._refuse,
            "close_round": self._close_round,
        }
        handlers: dict[str, Handler] = {"attach": self._attach}
        for name, handler in leased.items():
            handlers[name] = partial(self._leased, handler)
        return handlers

    def disconnected(self, peer: Peer) -> None:
        """Give up the lease of a ServerApp whose connection has ended."""
        with self._lock:
            lease = self._lease
            if lease is None or lease.peer != peer:
                return
            self._lease = None
        _log.warning("the ServerApp has gone", extra=fields(run=lease.run_id))
        self._on_detach(lease)

    # --- the ServerApp's side --------------------------------------------------------------

    def _attach(self, request: Request) -> Reply:
        token, run_id = request.args.get("token"), request.args.get("run")
        with self._lock:
            given = token.encode() if isinstance(token, str) else b""
            if not self._token or not hmac.compare_digest(given, self._token.encode()):
                raise PhaseError("attach: this run is not the current one; it is to end")
            self._count += 1
            run = run_id if isinstance(run_id, int) else 0
            self._lease = Lease(self._count, run, request.peer)
            self._token = ""  # once
            self._last_call = time.monotonic()
        _log.info("a ServerApp has attached", extra=fields(run=run, process=request.peer.pid))
        return Reply({**self._hello, "lease": self._count, "dimension": self._dimension})

    def _leased(self, handler: Callable[[Request], Reply], request: Request) -> Reply:
        self._require_lease(request)
        self._in_call += 1
        try:
            if request.call == "close_round":
                self._scheduler.wait_until_sealable()  # not under the lock: disputes go on
            with self._lock:
                self._require_lease(request)
                reply = handler(request)
        except ContributorError:
            raise
        except FedproofError as error:
            self._tell(f"{request.call}: {error}")
            raise
        else:
            if request.call in ("open_round", "close_round"):
                self._tell("")
            return reply
        finally:
            self._in_call -= 1
            self._last_call = time.monotonic()

    def _tell(self, complaint: str) -> None:
        """Say what keeps rounds from going on: to the log when it is news, to the board always."""
        if complaint and complaint != self._problem:
            _log.error("%s", complaint)
        self._problem = complaint
        self._report_problem("rounds", complaint)

    def _require_lease(self, request: Request) -> None:
        lease = self._lease
        if lease is None or request.peer != lease.peer:
            raise PhaseError(f"{request.call}: another ServerApp drives now; this one is to end")

    def _beat(self, request: Request) -> Reply:
        nodes = _node_ids(request.args.get("nodes"))
        beat = self._scheduler.beat(nodes)
        return Reply(
            {
                "complete": beat.complete,
                "cohort": list(beat.cohort),
                "strangers": list(beat.strangers),
                "seconds_left": float(beat.seconds_left),
                "missing": beat.missing,
            }
        )

    def _greet(self, request: Request) -> Reply:
        self._scheduler.greet(wire.presence_from(request.args.get("signed")))
        return Reply()

    def _open_round(self, _request: Request) -> Reply:
        told = self._driver.open_round()
        return Reply(wire.announcement_json(told), [wire.vector_bytes(told.model)])

    def _commit(self, request: Request) -> Reply:
        self._driver.commit(wire.commitment_from(request.args.get("signed")))
        return Reply()

    def _close_commitments(self, _request: Request) -> Reply:
        return Reply({"document": self._driver.close_commitments()})

    def _submit(self, request: Request) -> Reply:
        args = request.args
        signed = wire.signed_from(args.get("signed"))
        vector = wire.vector_from(request.attachments, self._dimension)
        salt = args.get("salt")
        self._driver.submit(
            signed,
            vector,
            wire.metrics_from(args.get("metrics")),
            bytes.fromhex(salt) if isinstance(salt, str) else None,
        )
        return Reply()

    def _refuse(self, request: Request) -> Reply:
        args = {name: str(request.args.get(name, "")) for name in ("sender", "code", "message")}
        self._driver.refuse(args["sender"], ContributorError(args["message"], code=args["code"]))
        return Reply()

    def _close_round(self, _request: Request) -> Reply:
        outcome = self._driver.close_round()
        return Reply(wire.outcome_json(outcome), [wire.vector_bytes(outcome.model)])


def _node_ids(told: Any) -> list[int]:
    if not isinstance(told, list) or any(type(n) is not int for n in told):
        raise PhaseError("nodes: expected a list of integers")
    return told
