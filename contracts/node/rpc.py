"""JSON-RPC 2.0 over the node, without a transport.

The list of methods is closed: none use keys, trace, or administer the node, and development methods
exist only if enabled (ADR 0023).
"""

import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

from contracts.json_bounds import check_nesting
from contracts.node.node import EmbeddedNode
from contracts.node.pool import DEFAULT_INTERVAL_S, Miner, MiningMode, TransactionPool
from contracts.node.rpc_json import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    SERVER_ERROR,
    RpcError,
)
from contracts.node.rpc_methods import DEV_METHODS, READ_METHODS, LogMethods, Method, RpcContext
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.types import JsonObject

MAX_BATCH: Final = 256
"""Requests in one batch."""
MAX_BATCH_CPU_S: Final = 10.0
"""Processor time of one batch, after which the rest of it is refused."""
_LOGGER = logging.getLogger(__name__)

Observer = Callable[[str, bool], None]


def _ignore(_method: str, _succeeded: bool) -> None:
    return


class Dispatcher:
    """Answers JSON-RPC requests from ``node``; thread-safe.

    Parameters
    ----------
    node
        The chain; the caller closes it.
    dev
        Whether development methods (``evm_*``, ``fedproof_mineBatch``) exist.
    mining
        When sent transactions are mined; see :class:`contracts.node.pool.Miner`.
    interval_s
        Time between a transaction's arrival and its block, if ``mining`` is ``"interval"``.
    """

    def __init__(
        self,
        node: EmbeddedNode,
        dev: bool = False,
        *,
        mining: MiningMode = "instant",
        interval_s: float = DEFAULT_INTERVAL_S,
    ) -> None:
        self.node = node
        pool = TransactionPool(node)
        self._context = RpcContext(node, pool, Miner(pool, mining, interval_s=interval_s))
        # A closed table: nothing signs, traces or administers, and only ``dev`` moves time
        # (ADR 0023).
        self._methods: dict[str, Method] = {**READ_METHODS.methods, **LogMethods().table.methods}
        if dev:
            self._methods.update(DEV_METHODS.methods)

    @property
    def methods(self) -> frozenset[str]:
        """Names of the methods that exist."""
        return frozenset(self._methods)

    def health(self) -> JsonObject:
        """Return status, chain id and number of the newest block."""
        genesis, block = self.node.genesis, self.node.head_number
        return {"status": "ok", "chain_id": genesis.chain_id, "block": block}

    def close(self) -> None:
        """Stop the mining thread. The node stays open."""
        self._context.miner.stop()

    def handle(self, body: bytes, observe: Observer = _ignore) -> bytes | None:
        """Answer one HTTP body: a request or a batch; ``None`` if there are only notifications.

        ``observe`` is called for every request with the method's name (empty for an unknown one)
        and whether it succeeded.
        """
        try:
            check_nesting(body)
            request = json.loads(body, parse_constant=_no_number)
        except ValueError as failed:
            return _encode(_error(None, RpcError(PARSE_ERROR, f"parse error: {failed}")))
        answer = (
            self.dispatch_batch(request, observe)
            if isinstance(request, list)
            else self.dispatch(request, observe)
        )
        return None if answer is None else _encode(answer)

    def dispatch_batch(
        self, requests: list[Any], observe: Observer = _ignore
    ) -> list[JsonObject] | JsonObject | None:
        """Answer a decoded batch, in order."""
        if not requests:
            return _error(None, RpcError(INVALID_REQUEST, "invalid request: an empty batch"))
        if len(requests) > MAX_BATCH:
            return _error(
                None,
                RpcError(
                    INVALID_REQUEST,
                    f"invalid request: a batch of {len(requests)}, at most {MAX_BATCH}",
                ),
            )
        end = time.thread_time() + MAX_BATCH_CPU_S
        answers = []
        for item in requests:
            late = time.thread_time() > end
            answers.append(_too_late(item) if late else self.dispatch(item, observe))
        return [answer for answer in answers if answer is not None] or None

    def dispatch(self, request: Any, observe: Observer = _ignore) -> JsonObject | None:
        """Answer one decoded request; ``None`` for a notification."""
        number = request.get("id") if isinstance(request, dict) else None
        method = ""
        try:
            method, params = _checked(request)
            result = self._run(method, params)
        except RpcError as failed:
            observe(method if method in self._methods else "", False)
            return _error(number, failed)
        observe(method, True)
        if "id" not in request:
            return None
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _run(self, name: str, params: list[Any]) -> Any:
        method = self._methods.get(name)
        if method is None:
            if name in DEV_METHODS.methods:
                raise RpcError(
                    METHOD_NOT_FOUND,
                    f"{name} is a development method; this node was not started for development",
                )
            raise RpcError(METHOD_NOT_FOUND, f"the method {name} does not exist or is not allowed")
        try:
            with self.node.lock:
                return method(self._context, params)
        except FedproofError as failed:
            raise RpcError(SERVER_ERROR, str(failed)) from failed
        except RpcError:
            raise
        except Exception as failed:
            _LOGGER.exception("%s failed", name)
            raise RpcError(
                INTERNAL_ERROR, f"internal error in {name}: {type(failed).__name__}"
            ) from failed


def _checked(request: Any) -> tuple[str, list[Any]]:
    if not isinstance(request, dict):
        raise RpcError(INVALID_REQUEST, "invalid request: not an object")
    if request.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'invalid request: jsonrpc must be "2.0"')
    if not _is_id(request.get("id")):
        raise RpcError(INVALID_REQUEST, "invalid request: id must be a string, number or null")
    method = request.get("method")
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "invalid request: method must be a string")
    params = request.get("params", [])
    if not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, f"invalid params: {method} takes a list of parameters")
    return method, params


def _is_id(value: Any) -> bool:
    """Whether a value is a valid id; a number beyond float64 (``1e400``) cannot be returned."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | None)


def _no_number(name: str) -> float:
    """Refuse a constant that Python's parser accepts although it is not JSON."""
    raise ValueError(f"{name} is not JSON")


def _too_late(request: Any) -> JsonObject:
    number = request.get("id") if isinstance(request, dict) else None
    reason = f"the batch has used {MAX_BATCH_CPU_S:g} s; send this request again"
    return _error(number, RpcError(LIMIT_EXCEEDED, reason))


def _error(number: Any, failed: RpcError) -> JsonObject:
    shown = number if _is_id(number) else None
    return {"jsonrpc": "2.0", "id": shown, "error": failed.to_json()}


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode("utf-8")
