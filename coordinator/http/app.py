"""The ASGI application of the coordinator: one port for everything but Flower.

=====================  ======================================================================
``POST /rpc``          JSON-RPC of the embedded chain, without development methods
``GET /blobs/NAME``    published artifacts (``blobs``, ``publication``)
``GET /federation``    the agreement, the same bytes for every client
``GET /status``        the state of the service, for people and scripts
``GET /evaluations``   what participants say of the newest models; 404 where none are agreed on
``GET /healthz``       200 if the process answers
``GET /readyz``        200 if rounds can run now; else 503 with the reasons
``GET /metrics``       metrics for Prometheus
=====================  ======================================================================

All of it is read-only, except the transactions that anybody may send to a chain.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.node.http_checks import HttpChecks, refusal
from contracts.node.rpc_methods import DEV_METHODS
from contracts.node.server import rpc_endpoint
from coordinator.http.blobs import Blobs, Members, Publication
from coordinator.http.chain_facts import ChainFacts, ChainFactsCache
from coordinator.http.http_context import HttpContext
from coordinator.http.limits import CpuBudget
from coordinator.http.metrics import CONTENT_TYPE, metrics_page
from coordinator.http.request_limits import RequestLimiter
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.errors import ConfigError, LedgerError, StoreError

Result = TypeVar("Result")
MOST_EVALUATIONS = 1_000
"""The rounds, the newest, that ``/evaluations`` shows at most."""


def make_app(
    context: HttpContext, *, certificate_end_s: Callable[[], float | None] = lambda: None
) -> ASGIApp:
    """Return the application.

    Parameters
    ----------
    certificate_end_s
        Returns the Unix time at which the current TLS certificate expires, for the metrics.

    Raises
    ------
    ConfigError
        If the dispatcher has development methods, which are never served.
    """
    http_checks, pages = HttpChecks(context.allowed_hosts), _Pages(context, certificate_end_s)
    routes = [
        Route("/federation", pages.federation, methods=["GET"]),
        Route("/status", pages.status, methods=["GET"]),
        Route("/healthz", pages.healthz, methods=["GET"]),
        Route("/readyz", pages.readyz, methods=["GET"]),
        Route("/metrics", pages.metrics, methods=["GET"]),
        Route("/evaluations", pages.evaluations, methods=["GET"]),
        Route("/blobs/{name}", _blobs(context, pages), methods=["GET"]),
    ]
    if context.dispatcher is not None:
        routes.append(Route("/rpc", _rpc(context, http_checks), methods=["POST"]))
    return RequestLimiter(Starlette(routes=routes), http_checks, context.limits, context.telemetry)


def _rpc(context: HttpContext, http_checks: HttpChecks) -> Callable[[Request], Any]:
    dispatcher = context.dispatcher
    assert dispatcher is not None
    if dispatcher.methods & DEV_METHODS.methods.keys():
        raise ConfigError("the chain was opened for development: it is not served to others")
    threads = _Limiter(context.limits.rpc_threads)
    budget = CpuBudget(context.limits.cpu_burst_s, context.limits.cpu_share)
    answer = rpc_endpoint(
        dispatcher,
        http_checks,
        max_body_bytes=context.limits.body_bytes,
        body_timeout_s=context.limits.body_s,
        threads=threads,
        observe=context.telemetry.count_rpc,
        meter=lambda request, used_s: budget.spend(_client(request), used_s),
    )

    async def rpc(request: Request) -> Response:
        wait_s = budget.wait_s(_client(request))
        if wait_s:
            reason = "this client has used up its share of the processor"
            return refusal(429, reason, retry_after=str(math.ceil(wait_s)))
        return await answer(request)

    return rpc


def _client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _blobs(context: HttpContext, pages: "_Pages") -> Callable[[Request], Any]:
    publication = Publication(context.federation, context.store, context.agreement)
    members = Members(context.federation, context.clock)
    blobs = Blobs(context.store, publication, members, pages.threads)

    async def blob(request: Request) -> Response:
        return await blobs(request)

    return blob


class _Limiter:
    """A capacity limiter that is created at its first use, inside the event loop."""

    def __init__(self, count: int) -> None:
        self._make = functools.cache(lambda: anyio.CapacityLimiter(count))

    def __call__(self) -> anyio.CapacityLimiter:
        return self._make()


class _Pages:
    """The handlers of the small pages."""

    def __init__(self, context: HttpContext, certificate_end_s: Callable[[], float | None]) -> None:
        self._context = context
        self._certificate_end_s = certificate_end_s
        self._lookout = ChainFactsCache(context.federation)
        self._agreement = context.agreement.canonical_json()
        self.threads = _Limiter(context.limits.read_threads)

    async def federation(self, request: Request) -> Response:
        """Answer with the agreement."""
        return Response(self._agreement, media_type="application/json")

    async def healthz(self, request: Request) -> Response:
        """Answer 200."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Answer 200, or 503 with the reasons."""
        _, reasons = await self._run(self._readiness)
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def status(self, request: Request) -> Response:
        """Answer with the state of service and chain."""
        return JSONResponse(await self._run(self._status))

    async def evaluations(self, request: Request) -> Response:
        """Answer with the newest evaluations, ``?last=N`` of them."""
        folder = self._context.evaluations
        if folder is None:
            return PlainTextResponse("this federation agreed on no evaluation", status_code=404)
        text = request.query_params.get("last", "100")
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MOST_EVALUATIONS):
            reason = f"last: expected a number from 1 to {MOST_EVALUATIONS}"
            return PlainTextResponse(reason, status_code=400)
        count = int(text[:9])
        try:
            summaries = await self._run(lambda: folder.last(count))
        except StoreError:
            return PlainTextResponse("the evaluations cannot be read", status_code=503)
        return JSONResponse({"evaluations": [summary.as_json() for summary in summaries]})

    async def metrics(self, request: Request) -> Response:
        """Answer with the metrics."""
        return PlainTextResponse(await self._run(self._metrics), media_type=CONTENT_TYPE)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(work, limiter=self.threads())

    def _readiness(self) -> tuple[tuple[ServiceSnapshot, ChainFacts | None], list[str]]:
        snapshot = self._context.status()
        reasons = list(snapshot.not_ready)
        facts = None
        try:
            facts = self._lookout.look()
        except LedgerError as error:
            reasons.insert(0, f"chain: {error}")
        return (snapshot, facts), reasons

    def _metrics(self) -> str:
        (snapshot, facts), _ = self._readiness()
        folder = self._context.evaluations
        return metrics_page(
            snapshot,
            facts,
            self._context.telemetry,
            self._certificate_end_s(),
            None if folder is None else folder.newest,
        )

    def _status(self) -> dict[str, Any]:
        (snapshot, facts), reasons = self._readiness()
        agreement = self._context.agreement
        return {
            "federation": agreement.name,
            "chain_id": agreement.chain_id,
            "contract": agreement.contract,
            "access": agreement.access,
            "sealed": agreement.sealed,
            "phase": snapshot.phase,
            "round": snapshot.round_id,
            "contributors": {
                "online": list(snapshot.online),
                "out_of_step": list(snapshot.out_of_step),
                "bonded": len(facts.bonds) if facts else None,
                "members": facts.head.member_count if facts else None,
            },
            "updates": {
                "accepted": self._context.telemetry.accepted,
                "refused": self._context.telemetry.refused,
            },
            "ready": not reasons,
            "not_ready": reasons,
            "errors": list(snapshot.errors),
            "children": dict(snapshot.children),
            "chain": None if facts is None else _chain(facts),
            **self._evaluation(),
        }

    def _evaluation(self) -> dict[str, Any]:
        folder = self._context.evaluations
        if folder is None:
            return {}
        newest = folder.newest
        return {"evaluation": None if newest is None else newest.as_json()}


def _chain(facts: ChainFacts) -> dict[str, Any]:
    head = facts.head
    return {
        "block": facts.block.number,
        "hash": "0x" + facts.block.hash.hex(),
        "time": facts.block.timestamp,
        "rounds": facts.rounds,
        "last_opened": head.last_opened,
        "last_sealed": head.head_round,
        "last_final": head.final_round,
        "model_root": head.model_root.hex(),
        "pool_wei": str(head.pool_wei),
        "bonded_wei": str(sum(facts.bonds.values())),
    }
