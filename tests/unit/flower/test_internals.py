"""The parts of Flower that are not public: all in one file, and each as that file takes it to be.

A test here that fails under a later Flower names the part that moved (ADR 0142).
"""

import ast
import dataclasses
import importlib
import inspect
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, RecordDict
from google.protobuf.message import DecodeError

from coordinator.flower import internals
from coordinator.protocol.errors import ConfigError

ROOT = Path(__file__).parents[3]
PUBLIC = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy")
PACKAGES = ("coordinator", "clients", "contracts", "simulations")


def module(name: str) -> Any:
    return importlib.import_module(name)


def source_of(name: str) -> str:
    return inspect.getsource(module(name))


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


SEAMS: dict[str, Callable[[], None]] = {}


def seam(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(check: Callable[[], None]) -> Callable[[], None]:
        SEAMS[name] = check
        return check

    return keep


def reply_about(content: RecordDict) -> Message:
    about = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=7,
        reply_to_message_id="",
        group_id="",
        created_at=1.0,
        ttl=60.0,
        message_type="train",
    )
    return internals.received_message(content, about)


@seam("flwr.app.message.make_message, Message(content, metadata=...)")
def _messages() -> None:
    assert parameters(internals.make_message) == ["metadata", "content", "error"]
    message = reply_about(RecordDict({"c": ConfigRecord({"a": 1})}))
    assert (message.metadata.message_id, message.metadata.dst_node_id) == ("m", 7)


@seam("Metadata keeps its fields under _message_id and _reply_to_message_id")
def _metadata() -> None:
    message = reply_about(RecordDict())
    internals.set_message_id(message, "other")
    internals.set_replied_message(message, "first")
    assert message.metadata.message_id == "other"
    assert message.metadata.reply_to_message_id == "first"


@seam("flwr.common.serde: recorddict_*_proto, message_*_proto")
def _serde() -> None:
    content = RecordDict(
        {"a": ArrayRecord({"x": Array(np.arange(3))}), "c": ConfigRecord({"n": [1, 2]})}
    )
    data = internals.records_to_bytes(content, deterministic=True)
    again = internals.records_from_bytes(data)
    np.testing.assert_array_equal(again["a"]["x"].numpy(), np.arange(3))
    assert internals.records_to_bytes(again, deterministic=True) == data
    with pytest.raises(ValueError, match="not Flower's records"):
        internals.records_from_bytes(b"\xff")
    assert not issubclass(DecodeError, ValueError)
    message = reply_about(content)
    assert internals.message_from_bytes(internals.message_to_bytes(message)).content == content


@seam("flwr.supercore.task_identity.TaskIdentity")
def _identity() -> None:
    identity = module("flwr.supercore.task_identity").TaskIdentity
    internals.identify_process(3)
    numbers = [identity._run_id, identity._node_id, identity._task_id]
    assert None not in numbers
    internals.identify_process(4)
    assert [identity._run_id, identity._node_id, identity._task_id] == numbers


@seam("flwr.supercore.constant.SYSTEM_MESSAGE_TYPE, ErrorCode.MESSAGE_UNAVAILABLE")
def _error_reply() -> None:
    reply = internals.error_reply(5, "m1", "why")
    assert reply.has_error()
    assert reply.error.code == internals.ErrorCode.MESSAGE_UNAVAILABLE
    assert (reply.metadata.run_id, reply.metadata.reply_to_message_id) == (5, "m1")
    names = ("NODE_UNAVAILABLE", "CLIENT_APP_CRASHED", "REPLY_MESSAGE_UNAVAILABLE")
    assert {name for name in names if not hasattr(internals.ErrorCode, name)} == set()


@seam("flwr.superlink.grid.HttpGrid: _runtime_client, _retry_invoker, node, run")
def _grid() -> None:
    grid = module("flwr.superlink.grid").HttpGrid
    assert isinstance(inspect.getattr_static(grid, "_runtime_client"), property)
    assert isinstance(inspect.getattr_static(grid, "run"), property)
    made = grid(token="t")
    assert {"_retry_invoker", "node"} <= vars(made).keys()
    assert hasattr(made._retry_invoker, "on_success")
    client = module("flwr.supercore.runtime").RuntimeHttpClient
    for call in ("PullMessages", "PullObject", "ConfirmMessageReceived"):
        assert callable(getattr(client, call)), call
    connection = internals.connection_of(made)
    assert connection is not None
    calls: list[int] = []
    connection.on_reconnect(lambda: calls.append(1))
    for tries in (1, 2):
        made._retry_invoker.on_success(SimpleNamespace(tries=tries, elapsed_time=1.0))
    assert calls == [1]


@seam("flwr.supercore.retry.retry_invoker.RetryState.tries")
def _retry_state() -> None:
    state = module("flwr.supercore.retry.retry_invoker").RetryState
    assert "tries" in {field.name for field in dataclasses.fields(state)}


@seam("flwr.proto: runtime, message, fleet and control")
def _protobuf() -> None:
    def fields(kind: Any) -> set[str]:
        return set(kind.DESCRIPTOR.fields_by_name)

    runtime, message = module("flwr.proto.runtime_pb2"), module("flwr.proto.message_pb2")
    fleet, control = internals.fleet_pb2, internals.control_pb2
    assert {"message_ids"} <= fields(runtime.PullAppMessagesRequest)
    assert {"messages_list", "message_object_trees"} <= fields(runtime.PullAppMessagesResponse)
    assert {"node", "run_id", "object_id"} <= fields(message.PullObjectRequest)
    found = {"object_found", "object_available", "object_content"}
    assert found <= fields(message.PullObjectResponse)
    confirmed = {"node", "run_id", "message_object_id"}
    assert confirmed <= fields(message.ConfirmMessageReceivedRequest)
    assert {"metadata", "error"} <= fields(message.Message)
    pushed = {"node", "messages_list", "message_object_trees"}
    assert pushed <= fields(fleet.PushMessagesRequest)
    assert {"messages_list"} <= fields(fleet.PullMessagesResponse)
    assert {"node_id"} <= fields(fleet.DeactivateNodeRequest)
    assert {"limit"} <= fields(control.ListRunsRequest)
    assert {"run_dict"} <= fields(control.ListRunsResponse)
    assert {"nodes_info"} <= fields(control.ListNodesResponse)
    assert {"public_key", "name"} <= fields(control.RegisterNodeRequest)
    assert {"node_id"} <= fields(control.RegisterNodeResponse)
    assert {"node_id"} <= fields(control.UnregisterNodeRequest)
    assert {"run_id"} <= fields(control.StopRunRequest)
    assert {"run_id"} <= fields(control.StartRunResponse)
    assert {"node_id", "public_key", "status"} <= fields(internals.NodeInfo)


@seam("flwr.supercore.inflatable: iterate_object_tree, inflate_object_from_contents")
def _inflatable() -> None:
    tools = module("flwr.supercore.inflatable.inflatable_object")
    internals.identify_process(1)
    message = Message(RecordDict({"c": ConfigRecord({"n": 4})}), 5, "train")
    with tools.no_object_id_recompute():
        number = message.object_id
        contents = {k: o.deflate() for k, o in tools.get_all_nested_objects(message).items()}
        tree = tools.get_object_tree(message)
    assert internals.object_count([tree]) == len(contents)
    assert internals.assembled(number, contents).content["c"]["n"] == 4


@seam("flwr.supercore.primitives.asymmetric, the headers of a node")
def _node_keys() -> None:
    tools = module("flwr.supercore.primitives.asymmetric")
    key = ec.generate_private_key(ec.SECP384R1())
    public = tools.public_key_to_bytes(key.public_key())
    signature = tools.sign_message(key, b"now")
    assert internals.signature_holds(public, b"now", signature)
    assert not internals.signature_holds(public, b"then", signature)
    headers = (
        internals.NODE_KEY_HEADER,
        internals.NODE_SIGNATURE_HEADER,
        internals.NODE_TIME_HEADER,
    )
    assert headers == ("flwr-public-key", "flwr-signature", "flwr-timestamp")


@seam("flwr.supercore.date.now")
def _date() -> None:
    assert module("flwr.supercore.date").now().tzinfo is not None


@seam("flwr.superlink.main: paths, app.state.linkstate_factory, get_node_id_by_public_key")
def _application() -> None:
    app = module("flwr.superlink.main").create_app()
    paths = set(app.openapi()["paths"])
    pushed = (
        internals.PUSH_OBJECT_PATH,
        internals.PUSH_MESSAGES_PATH,
        internals.PULL_MESSAGES_PATH,
    )
    assert {path for path in pushed if path not in paths} == set()
    for prefix in (internals.FLEET_PATH, internals.RUNTIME_PATH, internals.CONTROL_PATH):
        assert any(path.startswith(prefix) for path in paths), prefix
    state = app.state.linkstate_factory.state()
    state.create_node("account", "name", b"known", 30.0)
    assert internals.is_registered(app, b"known")
    assert not internals.is_registered(app, b"unknown")


@seam("flwr.common.constant.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE")
def _chunks() -> None:
    size = module("flwr.common.constant").FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
    assert size == internals.ARRAY_CHUNK_BYTES


@seam("flwr.supercore.control.ControlHttpClient and its interceptors")
def _control() -> None:
    client = internals.control_client("127.0.0.1:9", None, {"x-secret": "s"})
    calls = ("StartRun", "ListRuns", "StopRun", "ListNodes", "RegisterNode", "UnregisterNode")
    assert [call for call in calls if not callable(getattr(client, call, None))] == []
    client.close()
    seen = SimpleNamespace(request=httpx.Request("POST", "http://127.0.0.1"))
    answer = internals._Headers({"x-secret": "s"}).intercept(seen, lambda _: httpx.Response(200))
    assert (answer.status_code, seen.request.headers["x-secret"]) == (200, "s")
    context = module("flwr.supercore.protobuf.client").ProtobufRequestContext
    assert "request" in {field.name for field in dataclasses.fields(context)}


@seam("flwr.cli.build.build_fab_from_disk, flwr.supercore.fab.Fab, serde of a run")
def _run_request() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(
            '[project]\nname = "x"\nversion = "1.0.0"\ndependencies = []\n'
            '[tool.flwr.app]\npublisher = "p"\n'
            '[tool.flwr.app.components]\nserverapp = "x:app"\nclientapp = "x:app"\n'
        )
        request = internals.start_run_request(Path(folder), {"token": "t"})
    assert request.fab.content
    assert request.override_config["token"].string == "t"


@seam("flwr.superlink.routers.fleet.node_auth: two tolerances, read at each request")
def _tolerances() -> None:
    node_auth = module("flwr.superlink.routers.fleet.node_auth")
    tree = ast.parse(inspect.getsource(node_auth))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    read = {
        name.id
        for function in functions
        for statement in function.body  # not a default, which is read once
        for name in ast.walk(statement)
        if isinstance(name, ast.Name)
    }
    wanted = {"TIMESTAMP_TOLERANCE", "SYSTEM_TIME_TOLERANCE"}
    assert wanted <= vars(node_auth).keys()
    assert wanted <= read


@seam("flwr.supercore.sql_mixin.SQLITE_PRAGMAS")
def _pragmas() -> None:
    mixin = module("flwr.supercore.sql_mixin")
    before = mixin.SQLITE_PRAGMAS
    try:
        internals.wait_for_database(12_345)
        assert dict(mixin.SQLITE_PRAGMAS) == {**dict(before), "busy_timeout": "12345"}
    finally:
        mixin.SQLITE_PRAGMAS = before
    assert "SQLITE_PRAGMAS" in source_of("flwr.supercore.sql_mixin").split("def ", 1)[1]


@seam("flwr.superlink.cli.flower_superlink runs uvicorn.run(app, host, port, ...)")
def _command() -> None:
    command = module("flwr.superlink.cli.flower_superlink")
    assert inspect.ismodule(command.uvicorn)
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(command)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.run"
    ]
    assert calls
    for call in calls:
        names = {word.arg for word in call.keywords}
        assert {"app", "host", "port", "log_config", "ssl_keyfile", "ssl_certfile"} <= names
    assert callable(command.flower_superlink)


@seam("what a SuperLink logs when its nodes are listed")
def _nodes_listed() -> None:
    handlers = source_of("flwr.superlink.servicer.control.control_handlers")
    assert f'log(INFO, "{internals.NODES_LISTED}")' in handlers
    assert module("flwr.common.logger").FLOWER_LOGGER.name == internals.FLOWER_LOGGER


@seam("what a SuperNode logs and starts")
def _supernode() -> None:
    starts = source_of("flwr.supernode.cli.flower_supernode")
    assert f'log(INFO, "{internals.SUPERNODE_STARTS}")' in starts
    assert internals.SUPERNODE_REFUSED in source_of("flwr.supernode.fleet_http_connection")
    admitted = 'log(INFO, "SuperNode ID: %s", node_id)'
    loop = source_of("flwr.supernode.start_client_internal")
    assert admitted in loop
    for text in (
        '"Failed to receive message %s: %s",',
        '"Receiving: %s message (ID: %s)"',
        '"Sending: %s message (ID: %s)"',
        '"Run ID %s is not in `RUNNING` status. Ignoring message %s."',
    ):
        assert text in loop
    for line, what in (
        ("Receiving: train message (ID: 0a1f)", internals.SUPERNODE_RECEIVES),
        ("Sending: query.hello message (ID: 0a1f)", internals.SUPERNODE_SENDS),
        (
            "Run ID 42 is not in `RUNNING` status. Ignoring message 0a1f.",
            internals.SUPERNODE_IGNORES,
        ),
    ):
        match = what.search(f"INFO :      {line}")
        assert match is not None
        assert match[1] == "0a1f"
    found = internals.SUPERNODE_ADMITTED.search("INFO : SuperNode ID: 42")
    assert found is not None
    assert found[1] == "42"
    scripts = {script.name for script in metadata.distribution("flwr").entry_points}
    assert {
        internals.CLIENT_APP_PROGRAM,
        "flower-superlink",
        "flower-superexec",
        "flower-supernode",
    } <= scripts


@seam("flwr.supernode.fleet_http_client.FleetHttpClient and its interceptors")
def _fleet() -> None:
    client = module("flwr.supernode.fleet_http_client").FleetHttpClient
    assert {"interceptors", "verify", "timeout"} <= set(parameters(client))
    assert callable(client.DeactivateNode)
    auth = module("flwr.supernode.node_auth_http_interceptor").NodeAuthHttpInterceptor
    assert len(parameters(auth)) == 2


@seam("flwr.supercore.run.Run")
def _run() -> None:
    assert {"run_id", "fab_id"} <= {field.name for field in dataclasses.fields(internals.Run)}


@seam("flwr.supercore.constant.NodeStatus.UNREGISTERED")
def _status() -> None:
    assert internals.NodeStatus.UNREGISTERED == "unregistered"


@seam("flwr.supercore.telemetry.FLWR_TELEMETRY_ENABLED (coordinator.flower.environment)")
def _telemetry() -> None:
    assert hasattr(module("flwr.supercore.telemetry"), "FLWR_TELEMETRY_ENABLED")


@pytest.mark.parametrize("name", SEAMS)
def test_this_part_of_flower_is_as_internals_takes_it_to_be(name: str) -> None:
    SEAMS[name]()


def test_the_installed_version_was_tested() -> None:
    internals.check_version(metadata.version("flwr"))
    with pytest.raises(ConfigError, match=r"flwr 1\.43\.0 is installed, expected 1\.42\.0") as no:
        internals.check_version("1.43.0")
    assert "\n" not in str(no.value)
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"flwr=={internals.TESTED_VERSIONS[-1]}" in pinned


def imported_of_flower(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        elif isinstance(node, ast.Constant) and str(node.value).startswith("flwr."):
            names.add(str(node.value))
    return {name for name in names if name.partition(".")[0] == "flwr"}


def test_only_internals_imports_what_is_not_public() -> None:
    allowed = {
        "coordinator/flower/internals.py": None,
        "coordinator/flower/environment.py": {"flwr.supercore.telemetry"},
    }
    strays = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            extra = allowed.get(name, set())
            private = set() if extra is None else imported_of_flower(path) - set(PUBLIC) - extra
            if private:
                strays[name] = private
    assert strays == {}
