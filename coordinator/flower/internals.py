"""Every use of Flower's private parts, in one place (ADR 142).

``flwr.app``, ``flwr.clientapp`` and ``flwr.serverapp`` are public: any module may import them. All
other parts of Flower are wrapped in the functions below and imported by no other module;
``tests/unit/flower/test_internals.py`` names the part that a later Flower moved. The one exception
is the switch for telemetry in ``coordinator.flower.environment``, which must be set before anything
of ``flwr`` is imported.

Modules that are slow to import (the SuperLink, the builder of apps) are imported in the function
that needs them, because a ClientApp's process is started for each message.

Raises
------
ConfigError
    At import, if the installed Flower is not a version that this was tested with.
"""

import hashlib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final, Protocol, cast

# isort: split
import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, TIMESTAMP_HEADER, ErrorCode
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto import control_pb2, fleet_pb2, message_pb2, recorddict_pb2, runtime_pb2
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    SYSTEM_MESSAGE_TYPE,
    NodeStatus,
)
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf.message import DecodeError

from coordinator.protocol.errors import ConfigError

__all__ = [
    "SUPERLINK_NODE_ID",
    "ErrorCode",
    "NodeInfo",
    "NodeStatus",
    "Run",
    "control_pb2",
    "fleet_pb2",
    "make_message",
]

TESTED_VERSIONS: Final = ("1.42.0",)
"""All others are refused, because a changed internal could silently lose a reply."""


def check_version(installed: str) -> None:
    """Check that the functions below were tested with this version of Flower.

    Raises
    ------
    ConfigError
        Names the installed version and the expected ones.
    """
    if installed not in TESTED_VERSIONS:
        raise ConfigError(
            f"flwr {installed} is installed, expected {' or '.join(TESTED_VERSIONS)}: its "
            "internals are used and were tested with no other version (docs/flower.md)"
        )


check_version(metadata.version("flwr"))


# --- messages ----------------------------------------------------------------------------------


def set_message_id(message: Message, message_id: str) -> None:
    """Set a message's id, as Flower's own grid does when it sends or receives one."""
    vars(message.metadata)["_message_id"] = message_id


def set_replied_message(reply: Message, message_id: str) -> None:
    """Set the id of the message that a reply answers."""
    vars(reply.metadata)["_reply_to_message_id"] = message_id


def received_message(content: RecordDict, metadata: Metadata) -> Message:
    """Return a message with given metadata, by a constructor that Flower does not declare."""
    make: Any = Message
    return cast(Message, make(content, metadata=metadata))


def records_to_bytes(content: RecordDict, *, deterministic: bool = False) -> bytes:
    """Return records as protobuf; ``deterministic``: equal records give equal bytes."""
    encoded = recorddict_to_proto(content).SerializeToString(deterministic=deterministic)
    return bytes(encoded)


def records_from_bytes(data: bytes) -> RecordDict:
    """Return the records that :func:`records_to_bytes` encoded.

    Raises
    ------
    ValueError
        If the bytes are malformed.
    """
    try:
        proto = recorddict_pb2.RecordDict.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not Flower's records: {error}") from error
    return recorddict_from_proto(proto)


def message_to_bytes(message: Message) -> bytes:
    """Return a message as protobuf."""
    return bytes(message_to_proto(message).SerializeToString())


def message_from_bytes(data: bytes) -> Message:
    """Return the message that :func:`message_to_bytes` encoded."""
    return message_from_proto(message_pb2.Message.FromString(data))


def error_reply(run_id: int, replied_message_id: str, reason: str) -> Message:
    """Return an error reply (``MESSAGE_UNAVAILABLE``) in place of one that cannot be obtained."""
    about = Metadata(
        run_id=run_id,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=SUPERLINK_NODE_ID,
        message_type=SYSTEM_MESSAGE_TYPE,
        group_id="",
        ttl=0,
        reply_to_message_id=replied_message_id,
        created_at=now().timestamp(),
    )
    return make_message(metadata=about, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))


def identify_process(run_id: int) -> None:
    """Set the identity that ``Message()`` uses to a SuperLink task's, unless it is set."""
    for name, value in (("_run_id", run_id), ("_node_id", SUPERLINK_NODE_ID), ("_task_id", 0)):
        if getattr(TaskIdentity, name) is None:
            setattr(TaskIdentity, name[1:], value)


# --- the grid's own connection to the SuperLink ------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnouncedReply:
    """A reply whose list of objects the SuperLink knows, uploaded or not."""

    replied_message_id: str
    message_id: str
    has_content: bool
    object_ids: Sequence[str]


class GridConnection:
    """The calls below a grid's public ones, which cannot be used without waiting."""

    def __init__(self, grid: Any) -> None:
        self._grid = grid

    @property
    def run_id(self) -> int:
        """The id of the grid's run."""
        return int(self._grid.run.run_id)

    def announced(self, message_ids: Sequence[str]) -> Iterator[AnnouncedReply]:
        """Yield the newly announced replies to these messages; each is reported once."""
        request = runtime_pb2.PullAppMessagesRequest(message_ids=message_ids)
        response = self._client.PullMessages(request)
        for proto, tree in zip(response.messages_list, response.message_object_trees, strict=True):
            objects = list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))
            about = proto.metadata
            has_content = not proto.HasField("error")
            yield AnnouncedReply(about.reply_to_message_id, about.message_id, has_content, objects)

    def pull(self, object_id: str) -> Any:
        """Return the answer: ``object_found``, ``object_available`` and ``object_content``."""
        return self._client.PullObject(
            message_pb2.PullObjectRequest(
                node=self._grid.node, run_id=self.run_id, object_id=object_id
            )
        )

    def confirm(self, message_id: str) -> None:
        """Let the SuperLink delete a reply."""
        self._client.ConfirmMessageReceived(
            message_pb2.ConfirmMessageReceivedRequest(
                node=self._grid.node, run_id=self.run_id, message_object_id=message_id
            )
        )

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Register a callback for every request that succeeds after a retry."""
        invoker = self._grid._retry_invoker
        before = invoker.on_success

        def on_success(state: Any) -> None:
            if state.tries > 1:
                call()
            if before is not None:
                before(state)

        invoker.on_success = on_success

    @property
    def _client(self) -> Any:
        return self._grid._runtime_client


def connection_of(grid: Grid) -> GridConnection | None:
    """Return a grid's connection to a SuperLink over HTTP, ``None`` for any other grid."""
    from flwr.superlink.grid import HttpGrid

    return GridConnection(grid) if isinstance(grid, HttpGrid) else None


def assembled(message_id: str, contents: Mapping[str, bytes]) -> Message:
    """Assemble a message from its objects, by their ids.

    Raises
    ------
    Exception
        Of any kind: the bytes are untrusted, and Flower's parser declares no errors.
    """
    return cast(Message, inflate_object_from_contents(message_id, dict(contents)))


# --- a node's authentication --------------------------------------------------------------------

NODE_KEY_HEADER: Final = FLEET_HTTP_PUBLIC_KEY_HEADER.lower()
NODE_SIGNATURE_HEADER: Final = FLEET_HTTP_SIGNATURE_HEADER.lower()
NODE_TIME_HEADER: Final = TIMESTAMP_HEADER.lower()


def signature_holds(public_key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether a node's key (PEM) signed these bytes.

    Raises
    ------
    ValueError, TypeError, AttributeError, UnsupportedAlgorithm
        If ``public_key`` is not a key.
    """
    return verify_signature(bytes_to_public_key(public_key), signed, signature)


def flower_time_s() -> float:
    """Return Flower's current time, in seconds since 1970."""
    return now().timestamp()


# --- the SuperLink's HTTP interfaces ------------------------------------------------------------

FLEET_PATH: Final = "/v1/fleet/"
RUNTIME_PATH: Final = "/v1/runtime/"
CONTROL_PATH: Final = "/v1/control/"
PUSH_OBJECT_PATH: Final = "/v1/fleet/push-object"
PUSH_MESSAGES_PATH: Final = "/v1/fleet/push-messages"
PULL_MESSAGES_PATH: Final = "/v1/fleet/pull-messages"
ARRAY_CHUNK_BYTES: Final = 5 << 20
"""Size of the chunks of an array in Flower (``FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE``)."""


def object_count(trees: Any) -> int:
    """Return how many objects the trees of a ``push-messages`` body announce."""
    return sum(1 for tree in trees for _ in iterate_object_tree(tree))


_CONTROL_TIMEOUT_S: Final = 30.0
"""As Flower's own client waits."""


class ControlCalls(Protocol):
    """The calls of the SuperLink's control interface, each with its protobuf message."""

    def ListNodes(self, request: Any) -> Any:  # noqa: N802
        """Return the nodes; the other calls are made by name."""

    def close(self) -> None:
        """Close the connection."""


class _Headers:
    """Adds headers to each call."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        context.request.headers.update(self._headers)
        return call_next(context)


def control_client(
    address: str, root_certificates: bytes | None, headers: Mapping[str, str]
) -> ControlCalls:
    """Return a client of the control interface that sends these headers with each call.

    Parameters
    ----------
    address
        ``host:port``.
    root_certificates
        PEM of the authority that signed its certificate; ``None`` for plain HTTP.
    """
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    interceptors: list[Any] = [
        _Headers(headers),
        RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
    ]
    scheme, verify = "http", ssl.create_default_context()
    if root_certificates is not None:
        scheme, verify = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        verify.load_verify_locations(cadata=root_certificates.decode("ascii"))
    client = ControlHttpClient(f"{scheme}://{address}", interceptors=interceptors, verify=verify)
    _connect_directly(client, verify, _CONTROL_TIMEOUT_S)
    return cast(ControlCalls, client)


def _connect_directly(client: Any, trusted: ssl.SSLContext, timeout_s: float) -> None:
    """Have one of Flower's clients pass by a proxy that the environment names; it has no option."""
    client._client.close()
    client._client = httpx.Client(
        verify=trusted, timeout=timeout_s, follow_redirects=True, trust_env=False
    )


def start_run_request(app: Path, config: Mapping[str, str | int | float | bool]) -> Any:
    """Return the control interface's request to run the Flower app in a folder."""
    from flwr.cli.build import build_fab_from_disk
    from flwr.common.serde import fab_to_proto, user_config_to_proto
    from flwr.supercore.fab import Fab

    content = build_fab_from_disk(app)
    fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
    return control_pb2.StartRunRequest(
        fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(config))
    )


# --- the SuperLink's process --------------------------------------------------------------------


class Server(Protocol):
    """The part of the module ``uvicorn`` that Flower's command uses."""

    def run(self, app: Any, host: str, port: int, **options: Any) -> None:
        """Serve an application."""


def run_superlink(server: Server, *, clock_tolerance_s: int, busy_ms: int) -> None:
    """Run ``flower-superlink`` with the arguments of this process.

    Parameters
    ----------
    server
        Serves Flower's application instead of uvicorn.
    clock_tolerance_s
        Seconds that a node's clock may be off, either way.
    busy_ms
        As in :func:`wait_for_database`.
    """
    node_auth = import_module("flwr.superlink.routers.fleet.node_auth")
    for name in ("TIMESTAMP_TOLERANCE", "SYSTEM_TIME_TOLERANCE"):
        vars(node_auth)[name] = clock_tolerance_s
    wait_for_database(busy_ms)
    # The package's attribute of this name is a function, which hides the module.
    command = import_module("flwr.superlink.cli.flower_superlink")
    vars(command)["uvicorn"] = server
    command.flower_superlink()


def wait_for_database(busy_ms: int) -> None:
    """Make each connection to Flower's database wait up to ``busy_ms`` ms for a lock."""
    mixin = import_module("flwr.supercore.sql_mixin")
    pragmas = {**dict(mixin.SQLITE_PRAGMAS), "busy_timeout": str(busy_ms)}
    vars(mixin)["SQLITE_PRAGMAS"] = tuple(pragmas.items())


def is_registered(app: Any, public_key: bytes) -> bool:
    """Whether a node with this key (PEM) is registered with a SuperLink's application."""
    state = app.state.linkstate_factory.state()
    return state.get_node_id_by_public_key(public_key) is not None


FLOWER_LOGGER: Final = "flwr"
NODES_LISTED: Final = "ControlServicer.ListNodes"
"""What a SuperLink writes to its log at each ``ListNodes``."""


# --- a SuperNode --------------------------------------------------------------------------------

SUPERNODE_STARTS: Final = "Starting Flower SuperNode"
SUPERNODE_REFUSED: Final = "Failed to initialize the connection to the SuperLink."
SUPERNODE_ADMITTED: Final = re.compile(r"SuperNode ID: (\d+)")
SUPERNODE_RECEIVES: Final = re.compile(r"Receiving: \S+ message \(ID: ([0-9a-f]+)\)")
SUPERNODE_SENDS: Final = re.compile(r"Sending: \S+ message \(ID: ([0-9a-f]+)\)")
SUPERNODE_IGNORES: Final = re.compile(
    r"Run ID \d+ is not in `RUNNING` status\. Ignoring message ([0-9a-f]+)"
)
"""Lines in a SuperNode's log; the last is of an instruction, not of a reply."""
SUPERNODE_DROPPED: Final = re.compile(r"Failed to receive message \S+: .*")
"""A SuperNode's line about a message that did not arrive whole, or differs from its digest. It
tells neither the participant's daemon nor the coordinator."""
CLIENT_APP_PROGRAM: Final = "flwr-clientapp"
"""The program that a SuperNode starts for each message."""


@contextmanager
def fleet_client(
    address: str, key: EllipticCurvePrivateKey, trusted: ssl.SSLContext, timeout_s: float
) -> Iterator[Callable[[int], None]]:
    """Connect to a SuperLink with a node's key; yield a function that ends a node's session.

    Raises
    ------
    httpx.HTTPError, OSError, RuntimeError, ValueError
        If the SuperLink does not answer or refuses, here or in the yielded function.
    """
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
    ]
    with FleetHttpClient(
        f"https://{address}", interceptors=interceptors, verify=trusted, timeout=timeout_s
    ) as client:
        _connect_directly(client, trusted, timeout_s)

        def end_session(node_id: int) -> None:
            client.DeactivateNode(fleet_pb2.DeactivateNodeRequest(node_id=node_id))

        yield end_session
