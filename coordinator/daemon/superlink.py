"""Flower's SuperLink with our guard before it: ``python -m coordinator.daemon.superlink FILE ...``.

``FILE`` holds the guard's settings as JSON; what follows are ``flower-superlink``'s own arguments.
Flower's application is untouched: it is wrapped where it is handed to the HTTP server, whose own
limits are set there too.
"""

import ipaddress
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
import uvicorn
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.superlink.routers.fleet import node_auth
from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool

from coordinator.daemon.guard import NODE_KEY_HEADER, App, Guard, GuardLimits
from coordinator.daemon.node_headers import is_signed
from coordinator.http.tls import LoggedHandshake

CLOCK_TOLERANCE_S: Final = 7_200
"""How far a node's clock may be off. What Flower's nodes sign is a time and nothing else, inside
TLS, so a longer window opens nothing; with Flower's five minutes a clock an hour off locks out."""
_STOP_S: Final = 3
_KEEP_ALIVE_S: Final = 120
_CONNECTIONS: Final = 2_000


@dataclass(frozen=True, slots=True)
class GuardFile:
    """What the service tells the guard."""

    vector_bytes: int
    control_secret: str
    registered_only: bool

    def write(self, path: Path) -> None:
        """Write it for the SuperLink, private."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


def main() -> None:
    """Run the SuperLink until it is told to stop."""
    settings = GuardFile(**json.loads(Path(sys.argv[1]).read_text()))
    sys.argv = ["flower-superlink", *sys.argv[2:]]
    for name in ("TIMESTAMP_TOLERANCE", "SYSTEM_TIME_TOLERANCE"):
        vars(node_auth)[name] = CLOCK_TOLERANCE_S
    command = import_module("flwr.superlink.cli.flower_superlink")  # the package hides the module
    vars(command)["uvicorn"] = _Server(settings)
    command.flower_superlink()


class _Server:
    """Stands in for the module ``uvicorn`` in Flower's command."""

    def __init__(self, settings: GuardFile) -> None:
        self._settings = settings

    def run(self, app: Any, host: str, port: int, **options: Any) -> None:
        """Serve Flower's application behind the guard."""
        kept = {k: options[k] for k in ("log_config", "ssl_keyfile", "ssl_certfile")}
        config = uvicorn.Config(
            guarded(app, self._settings, host),
            host=host,
            port=port,
            **kept,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.sslobject_class = LoggedHandshake
        server = uvicorn.Server(config)
        server.run()
        if not server.started:
            raise SystemExit(1)


def guarded(app: Any, settings: GuardFile, host: str) -> Guard:
    """Return Flower's FastAPI application behind the guard."""
    served: App = app
    return Guard(
        served,
        GuardLimits.of_model(settings.vector_bytes),
        settings.control_secret,
        frozenset() if ipaddress.ip_address(host).is_unspecified else frozenset({host}),
        _registered(app) if settings.registered_only else None,
        count_objects,
    )


def count_objects(body: bytes) -> int:
    """Return how many objects a ``push-messages`` body announces; what is no such body has none."""
    request = PushMessagesRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        return 0  # Flower refuses it
    return sum(1 for tree in request.message_object_trees for _ in iterate_object_tree(tree))


def _registered(app: Any) -> Callable[[Mapping[bytes, bytes]], Awaitable[bool]]:
    def look(headers: Mapping[bytes, bytes]) -> bool:
        key = is_signed(headers, CLOCK_TOLERANCE_S)
        state = app.state.linkstate_factory.state()
        return key is not None and state.get_node_id_by_public_key(key) is not None

    async def is_known(headers: Mapping[bytes, bytes]) -> bool:
        return NODE_KEY_HEADER in headers and await run_in_threadpool(look, headers)

    return is_known


if __name__ == "__main__":
    main()
