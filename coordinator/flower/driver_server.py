"""The service's side of the driver: the calls that a ServerApp may make over the Unix socket.

Only one ServerApp at a time may drive rounds. A run gets a token when it is started; attaching with
the token takes the lease, and every later call needs the lease. A ServerApp of an earlier run that
is still alive has neither: it can no longer open a round, submit to it or close it (ADR 90).

An error goes back to the ServerApp as a typed error. A round that it leaves unfinished is restored
from ledger and store by the next ``open_round``.
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
from coordinator.ports import RoundAnnouncement, RoundDriver
from coordinator.protocol.errors import ContributorError, FedproofError, PhaseError
from coordinator.protocol.instructions import instruction_json
from coordinator.protocol.types import PHASES, JsonObject, Presence, RoundId, Signed

_HEADER_BYTES: Final = 4 << 20
"""For one call: metrics, or the commitments document of a large round."""
_MOST_TEXT: Final = 300
"""Characters of a node's text in the log."""
_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to each heartbeat of the ServerApp's loop.

    Attributes
    ----------
    complete
        Whether all configured rounds are done: the loop may end.
    cohort
        Nodes to ask in the next round; empty while too few contributors are online.
    strangers
        Connected nodes that have not proven yet which account they belong to.
    seconds_left
        Seconds of chain time until the open round must be closed; 0 if none is open.
    missing
        How many more contributors the open round needs; with fewer it is void.
    """

    complete: bool
    cohort: Sequence[int] = ()
    strangers: Sequence[int] = ()
    seconds_left: float = 0.0
    missing: int = 0


class Scheduler(Protocol):
    """Decides when the driver opens and closes a round."""

    def beat(self, nodes: Sequence[int]) -> Beat:
        """Return what to do now, given the connected nodes."""

    def greet(self, signed: Signed[Presence]) -> None:
        """Take a node's presence statement; raises ``ContributorError`` if it is not valid."""

    def wait_until_sealable(self) -> None:
        """Return once the contract lets the open round be sealed."""


class Evaluations(Protocol):
    """Decides when a model is evaluated, and keeps what participants say of it."""

    def begin(self) -> tuple[RoundAnnouncement, Sequence[int]] | None:
        """Return the model to evaluate and the nodes to ask; ``None`` if none is due."""

    def take(self, node: int, metrics: JsonObject) -> None:
        """Take what a node says; a wrong answer is noted, and raises nothing."""

    def refuse(self, node: int, code: str, message: str) -> None:
        """Note why a node's answer does not count."""

    def wait(self) -> None:
        """Return once the evaluation can be ended; called without the lock."""

    def end(self) -> None:
        """Keep what was said."""


class NoEvaluations:
    """Of a federation that agreed on none."""

    def begin(self) -> None:
        """Return ``None``."""

    def take(self, node: int, metrics: JsonObject) -> None:
        """Ignore."""

    def refuse(self, node: int, code: str, message: str) -> None:
        """Ignore."""

    def wait(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive rounds: ``run_id`` is Flower's, ``number`` counts ServerApps so far."""

    number: int
    run_id: int
    peer: Peer


class DriverServer:
    """Answers one ServerApp's calls.

    Parameters
    ----------
    driver, scheduler
        Not thread-safe: called under ``lock`` only (except ``wait_until_sealable``, ``wait``).
    dimension
        *d*; longer vectors are not received.
    hello
        Settings sent once to a ServerApp that attaches.
    on_detach
        Called when the ServerApp that holds the lease has disconnected.
    report_problem
        Called with ``"rounds"`` and the reason why rounds fail, empty once they succeed.
    evaluations
        The same; ``None`` if none are agreed on.
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
        evaluations: Evaluations | None = None,
    ) -> None:
        self._driver, self._scheduler, self._lock = driver, scheduler, lock
        self._dimension, self._hello, self._on_detach = dimension, hello, on_detach
        self._report_problem, self._problem = report_problem, ""
        self._evaluations = evaluations or NoEvaluations()
        self._token = ""
        self._lease: Lease | None = None
        self._count = 0
        self._last_call = time.monotonic()
        self._in_call = 0

    # --- called by the engine --------------------------------------------------------------

    def new_token(self) -> str:
        """Return a token for the run about to start; all earlier ones become invalid."""
        with self._lock:
            self._token = secrets.token_hex(16)
            self._lease = None
            return self._token

    @property
    def lease(self) -> Lease | None:
        """The lease of the ServerApp that drives now, ``None`` without one."""
        return self._lease

    @property
    def silent_s(self) -> float:
        """Seconds since the ServerApp's last call ended."""
        return time.monotonic() - self._last_call

    @property
    def is_idle(self) -> bool:
        """Whether no call is being answered: during a long call the ServerApp is not silent."""
        return self._in_call == 0

    @property
    def limits(self) -> FrameLimits:
        """The size limits of one call."""
        return FrameLimits(_HEADER_BYTES, 4 * self._dimension + 4_096)

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each call, by its name."""
        leased: dict[str, Callable[[Request], Reply]] = {
            "beat": self._beat,
            "greet": self._greet,
            "refuse_presence": self._refuse_presence,
            "open_round": self._open_round,
            "sign_instruction": self._sign_instruction,
            "commit": self._commit,
            "close_commitments": self._close_commitments,
            "submit": self._submit,
            "refuse": self._refuse,
            "close_round": self._close_round,
            "begin_evaluation": self._begin_evaluation,
            "evaluated": self._evaluated,
            "refuse_evaluation": self._refuse_evaluation,
            "end_evaluation": self._end_evaluation,
        }
        handlers: dict[str, Handler] = {"attach": self._attach}
        for name, handler in leased.items():
            handlers[name] = partial(self._leased, handler)
        return handlers

    def disconnected(self, peer: Peer) -> None:
        """Revoke the lease of a ServerApp whose connection has ended."""
        with self._lock:
            lease = self._lease
            if lease is None or lease.peer != peer:
                return
            self._lease = None
        _log.warning("the ServerApp has gone", extra=fields(run=lease.run_id))
        self._on_detach(lease)

    # --- called by the ServerApp -----------------------------------------------------------

    def _attach(self, request: Request) -> Reply:
        token, run_id = request.args.get("token"), request.args.get("run")
        with self._lock:
            given = token.encode() if isinstance(token, str) else b""
            if not self._token or not hmac.compare_digest(given, self._token.encode()):
                raise PhaseError("attach: this run is not the current one; it is to end")
            self._count += 1
            run = run_id if isinstance(run_id, int) else 0
            self._lease = Lease(self._count, run, request.peer)
            self._token = ""  # valid once, so that no older ServerApp can attach again (ADR 90)
            self._last_call = time.monotonic()
        _log.info("a ServerApp has attached", extra=fields(run=run, process=request.peer.pid))
        return Reply({**self._hello, "lease": self._count, "dimension": self._dimension})

    def _leased(self, handler: Callable[[Request], Reply], request: Request) -> Reply:
        self._require_lease(request)
        self._in_call += 1
        try:
            if request.call == "close_round":
                # Without the lock, so that disputes are answered meanwhile.
                self._scheduler.wait_until_sealable()
            if request.call == "end_evaluation":
                self._evaluations.wait()
            with self._lock:
                self._require_lease(request)
                reply = handler(request)
        except ContributorError:
            raise
        except FedproofError as error:
            self._set_problem(f"{request.call}: {error}")
            raise
        else:
            if request.call in ("open_round", "close_round"):
                self._set_problem("")
            return reply
        finally:
            self._in_call -= 1
            self._last_call = time.monotonic()

    def _set_problem(self, problem: str) -> None:
        """Report why rounds fail, empty if they do not; a new problem is logged too."""
        if problem and problem != self._problem:
            _log.error("%s", problem)
        self._problem = problem
        self._report_problem("rounds", problem)

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

    def _refuse_presence(self, request: Request) -> Reply:
        """Log it here: what the ServerApp writes is in another log, which operators do not read."""
        node, message = request.args.get("node"), str(request.args.get("message"))
        _log.warning(
            "a node does not say whom it speaks for: %s",
            message[:_MOST_TEXT],
            extra=fields(node=node if isinstance(node, int) else 0),
        )
        return Reply()

    def _open_round(self, _request: Request) -> Reply:
        announcement = self._driver.open_round()
        return Reply(wire.announcement_json(announcement), [wire.vector_bytes(announcement.model)])

    def _sign_instruction(self, request: Request) -> Reply:
        args = request.args
        round_id, phase, content = args.get("round"), args.get("phase"), args.get("content")
        if type(round_id) is not int or phase not in PHASES or not isinstance(content, dict):
            raise PhaseError(
                f"sign_instruction: expected a round, a phase of {PHASES}, and an object"
            )
        instruction = self._driver.sign_instruction(RoundId(round_id), phase, content)
        return Reply({"instruction": instruction_json(instruction)})

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

    def _begin_evaluation(self, _request: Request) -> Reply:
        begun = self._evaluations.begin()
        if begun is None:
            return Reply({"due": False})
        announcement, nodes = begun
        about = {**wire.announcement_json(announcement), "due": True, "nodes": list(nodes)}
        return Reply(about, [wire.vector_bytes(announcement.model)])

    def _evaluated(self, request: Request) -> Reply:
        metrics = wire.metrics_from(request.args.get("metrics"))
        self._evaluations.take(_node_id(request.args.get("node")), metrics)
        return Reply()

    def _refuse_evaluation(self, request: Request) -> Reply:
        code, message = (str(request.args.get(name, "")) for name in ("code", "message"))
        self._evaluations.refuse(_node_id(request.args.get("node")), code, message)
        return Reply()

    def _end_evaluation(self, _request: Request) -> Reply:
        self._evaluations.end()
        return Reply()


def _node_id(value: Any) -> int:
    (node,) = _node_ids([value])
    return node


def _node_ids(values: Any) -> list[int]:
    if not isinstance(values, list) or any(type(n) is not int for n in values):
        raise PhaseError("nodes: expected a list of integers")
    return values
