"""Runs Flower's SuperLink behind our guard: ``python -m coordinator.flower.superlink FILE ...``.

``FILE`` holds the guard's settings as JSON; the other arguments are ``flower-superlink``'s own.
Flower's application is not changed: the guard wraps it where it is passed to the HTTP server. That
server is the one of the coordinator's HTTP port, with its limits on idle connections.
"""

import hashlib
import ipaddress
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

# isort: split
import uvicorn
from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool

from coordinator.flower.guard import (
    LOOPBACK,
    App,
    FleetWire,
    Guard,
    GuardFile,
    GuardLimits,
    Push,
)
from coordinator.flower.instruction_order import HandedInstruction, InstructionOrder
from coordinator.flower.internals import (
    FLOWER_LOGGER,
    NODE_KEY_HEADER,
    NODES_LISTED,
    SUPERLINK_NODE_ID,
    fleet_pb2,
    is_registered,
    object_count,
    run_superlink,
)
from coordinator.flower.node_headers import is_signed
from coordinator.http.limits import HttpLimits
from coordinator.http.listener import FairListener, guarded_protocol
from coordinator.http.tls import LoggedHandshake
from coordinator.protocol.errors import ConfigError

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

CLOCK_TOLERANCE_S: Final = 7_200
"""Seconds that a node's clock may be off. Flower's nodes sign only the time, inside TLS, so a long
window is no risk; with Flower's own five minutes a clock that is an hour off locks a node out."""
BUSY_MS: Final = 30_000
"""Milliseconds to wait for Flower's database; with Flower's own five seconds, uploads of 32 nodes
at once failed on two cores."""
_NODE_KEY: Final = NODE_KEY_HEADER.encode()
_STOP_S: Final = 3
LIMITS: Final = HttpLimits(
    connections_per_client=128,  # several SuperNodes behind one address, a dozen connections each
    connections=2_000,
    header_s=30.0,
    write_s=600.0,  # enough for an object of 5 MiB, one answer, at 100 kbit/s
    keep_alive_s=120,
)


def main() -> None:
    """Run the SuperLink until a signal stops it."""
    settings = GuardFile(**json.loads(Path(sys.argv[1]).read_text()))
    sys.argv = ["flower-superlink", *sys.argv[2:]]
    logging.getLogger(FLOWER_LOGGER).addFilter(_is_news)
    run_superlink(_Server(settings), clock_tolerance_s=CLOCK_TOLERANCE_S, busy_ms=BUSY_MS)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line says something: that the service lists the nodes, each second, does not."""
    return record.getMessage() != NODES_LISTED


class _Server:
    """Replaces the module ``uvicorn`` in Flower's command, to wrap its application (ADR 92)."""

    def __init__(self, settings: GuardFile) -> None:
        self._settings = settings

    def run(self, app: Any, host: str, port: int, **options: Any) -> None:
        """Serve Flower's application behind the guard."""
        tls = {k: options[k] for k in ("log_config", "ssl_keyfile", "ssl_certfile")}
        try:
            listener = fair_listener(host, port, LIMITS)
        except ConfigError as error:
            raise SystemExit(str(error)) from error
        server = server_of(guarded(app, self._settings, host), LIMITS, **tls)
        server.run([listener])
        if not server.started:
            raise SystemExit(1)


def fair_listener(host: str, port: int, limits: HttpLimits) -> FairListener:
    """Return a listening socket that limits the connections of each address but this host's.

    It is bound but does not listen yet: the server does that, so that a successful connection
    means that the SuperLink has started.

    Raises
    ------
    ConfigError
        If the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"{host}:{port}: cannot listen there: {error.strerror}") from error
    return FairListener(bound, limits, LOOPBACK | own_hosts(host))


def server_of(app: App, limits: HttpLimits, **options: Any) -> uvicorn.Server:
    """Return a server that closes slow connections after the times in the limits.

    It does not limit the total of connections, which would limit our own ServerApp too: the
    listener limits those of other hosts.
    """
    config = uvicorn.Config(
        cast("ASGIApplication", app),
        **options,
        loop="asyncio",  # the listener is a Python socket
        http=guarded_protocol(limits),
        ws="none",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=_STOP_S,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.sslobject_class = LoggedHandshake
    return uvicorn.Server(config)


def own_hosts(host: str) -> frozenset[str]:
    """Return the addresses that this host's own processes connect from, besides loopback."""
    return frozenset() if ipaddress.ip_address(host).is_unspecified else frozenset({host})


def guarded(app: Any, settings: GuardFile, host: str) -> Guard:
    """Return Flower's FastAPI application wrapped in the guard."""
    served: App = app
    return Guard(
        served,
        GuardLimits.of_model(settings.vector_bytes),
        settings.control_secret,
        own_hosts(host),
        _registered(app) if settings.registered_only else None,
        FleetWire(read_push, read_instructions),
        InstructionOrder(Path(settings.order_file) if settings.order_file else None),
    )


def read_push(body: bytes) -> Push | None:
    """Parse a ``push-messages`` body; ``None`` if it is malformed, which Flower refuses."""
    request = fleet_pb2.PushMessagesRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        return None
    objects = object_count(request.message_object_trees)
    digest = hashlib.sha256()
    for part in (*request.messages_list, *request.message_object_trees):
        digest.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
    fault = _fault(request)
    answers = "" if fault else request.messages_list[0].metadata.reply_to_message_id
    return Push(objects, digest.digest(), fault, answers)


def _fault(request: fleet_pb2.PushMessagesRequest) -> str:
    """Return why a push is not one reply of the node that authenticated itself."""
    count = len(request.messages_list), len(request.message_object_trees)
    if count != (1, 1):
        return f"{count[0]} messages with {count[1]} object trees, expected one of each"
    metadata, tree = request.messages_list[0].metadata, request.message_object_trees[0]
    node = request.node.node_id
    if metadata.src_node_id != node:
        return f"node {node} sends a message of node {metadata.src_node_id}"
    if metadata.dst_node_id != SUPERLINK_NODE_ID or not metadata.reply_to_message_id:
        return "a message that is no reply to the SuperLink"
    if tree.object_id != metadata.message_id:
        return "an object tree of another message"
    return ""


def read_instructions(body: bytes) -> list[HandedInstruction]:
    """Return the instructions that an answer to ``pull-messages`` holds."""
    messages = fleet_pb2.PullMessagesResponse.FromString(body).messages_list
    return [HandedInstruction(m.metadata.message_id, m.metadata.dst_node_id) for m in messages]


def _registered(app: Any) -> Callable[[Mapping[bytes, bytes]], Awaitable[bytes | None]]:
    def look(headers: Mapping[bytes, bytes]) -> bytes | None:
        key = is_signed(headers, CLOCK_TOLERANCE_S)
        return key if key is not None and is_registered(app, key) else None

    async def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
        return await run_in_threadpool(look, headers) if _NODE_KEY in headers else None

    return key_of


if __name__ == "__main__":
    main()
