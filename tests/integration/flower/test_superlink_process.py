"""Flower's own SuperLink behind our guard, as a process: TLS, nodes, limits, and a closed door."""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from superlink_process import SECRET, VECTOR_BYTES, Link, NodeKey, superlink_process

from coordinator.flower.guard import GuardLimits
from coordinator.flower.superlink import CLOCK_TOLERANCE_S
from coordinator.flower.superlink_control import SuperLinkControl, SuperLinkError
from coordinator.founding.certificates import make_authority


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with superlink_process(tmp_path_factory.mktemp("link")) as link:
        yield link


def node_of(link: Link) -> int:
    return link.control.nodes()[link.member.public]


@pytest.mark.slow
def test_a_registered_node_is_served_even_with_its_clock_off(link: Link):
    node_id = node_of(link)
    request = ActivateNodeRequest(public_key=link.member.public, heartbeat_interval=30)
    answer = link.post(
        "/v1/fleet/activate-node", request.SerializeToString(), **link.member.headers(3_600)
    )
    assert answer.status_code == 200, answer.text
    assert ActivateNodeResponse.FromString(answer.content).node_id == node_id
    pull = PullMessagesRequest(node=Node(node_id=node_id)).SerializeToString()
    for off_s in (-3_600.0, 0.0, 3_600.0):
        answer = link.post("/v1/fleet/pull-messages", pull, **link.member.headers(off_s))
        assert (answer.status_code, answer.content) == (200, b"")
    stale = link.member.headers(-CLOCK_TOLERANCE_S - 60)
    assert link.post("/v1/fleet/pull-messages", pull, **stale).status_code == 401


@pytest.mark.slow
def test_an_unknown_node_is_refused_before_it_is_heard(link: Link):
    stranger = NodeKey()
    request = ActivateNodeRequest(public_key=stranger.public, heartbeat_interval=30)
    answer = link.post("/v1/fleet/activate-node", request.SerializeToString(), **stranger.headers())
    assert answer.status_code == 401
    assert "not registered" in answer.text
    mixed = {**stranger.headers(), "flwr-public-key": link.member.headers()["flwr-public-key"]}
    assert link.post("/v1/fleet/pull-messages", b"", **mixed).status_code == 401


@pytest.mark.slow
def test_plain_text_and_foreign_authorities_are_refused(link: Link, tmp_path: Path):
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://127.0.0.1:{link.port}/v1/fleet/pull-messages", content=b"", timeout=10)
    other = make_authority("other").certificate
    with pytest.raises(SuperLinkError, match=r"(?i)certificate"):
        SuperLinkControl(f"127.0.0.1:{link.port}", other, SECRET).nodes()


@pytest.mark.slow
def test_nobody_but_the_service_starts_or_registers_anything(link: Link):
    for secret in ("", "guess"):
        outsider = SuperLinkControl(f"127.0.0.1:{link.port}", link.ca.read_bytes(), secret)
        with pytest.raises(SuperLinkError, match="status 404"):
            outsider.unfinished_runs()
    for path in ("/docs", "/openapi.json", "/v1/control/start-run", "/v1/responses"):
        answer = link.post(path, b"", **link.member.headers())
        assert (answer.status_code, answer.json()) == (404, {"detail": "there is nothing here"})
    executor = RuntimeHttpClient.from_server_address(
        f"127.0.0.1:{link.port}",
        False,
        link.ca.read_bytes(),
        [RuntimeVersionHttpInterceptor(component_name="SuperExec")],
    )
    with pytest.raises(httpx.HTTPStatusError) as refused:  # it does not have the secret
        executor.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    assert refused.value.response.status_code == 401


@pytest.mark.slow
def test_three_gigabytes_are_refused_at_the_door(link: Link):
    node_id = node_of(link)
    before = link.resident_mb()

    def endless() -> Iterator[bytes]:
        block = bytes(1 << 20)
        for _ in range(3_000):
            yield block

    for path in ("/v1/fleet/push-object", "/v1/fleet/push-messages"):
        try:
            answer = link.post(path, endless(), **link.member.headers())
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # the connection was closed while we were still sending: also an answer
    limit = GuardLimits.of_model(VECTOR_BYTES).object_bytes
    large = PushObjectRequest(node=Node(node_id=node_id), object_content=bytes(limit))
    answer = link.post("/v1/fleet/push-object", large.SerializeToString(), **link.member.headers())
    assert answer.status_code == 413
    small = PushObjectRequest(node=Node(node_id=node_id), object_content=bytes(limit - 1_000))
    answer = link.post("/v1/fleet/push-object", small.SerializeToString(), **link.member.headers())
    assert answer.status_code != 413
    assert link.resident_mb() < before + 100


def reply_of(node_id: int) -> PushMessagesRequest:
    """A reply as nodes send them, to an instruction that nobody gave."""
    request = PushMessagesRequest(node=Node(node_id=node_id))
    metadata = request.messages_list.add().metadata
    metadata.message_id = request.message_object_trees.add().object_id = f"{0:064x}"
    metadata.src_node_id, metadata.dst_node_id = node_id, SUPERLINK_NODE_ID
    metadata.reply_to_message_id = "an instruction"
    return request


def push(link: Link, request: PushMessagesRequest) -> httpx.Response:
    body = request.SerializeToString()
    return link.post("/v1/fleet/push-messages", body, **link.member.headers())


@pytest.mark.slow
def test_a_call_waits_for_a_locked_database_longer_than_flower_would(link: Link):
    node = Node(node_id=node_of(link))
    request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=30).SerializeToString()
    database = sqlite3.connect(
        link.ca.parent / "flower.db", isolation_level=None, check_same_thread=False
    )
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")
        unlock = threading.Timer(7.0, database.execute, ("ROLLBACK",))
        unlock.start()
        answer = link.post("/v1/fleet/send-node-heartbeat", request, **link.member.headers())
        unlock.join()
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_nobody_speaks_for_another(link: Link):
    node_id = node_of(link)

    def changed(**values: object) -> PushMessagesRequest:
        request = reply_of(node_id)
        for name, value in values.items():
            setattr(request.messages_list[0].metadata, name, value)
        return request

    assert push(link, changed()).status_code not in (403, 429)
    cases = [
        (changed(src_node_id=node_id + 1), f"a message of node {node_id + 1}"),
        (changed(src_node_id=SUPERLINK_NODE_ID), f"a message of node {SUPERLINK_NODE_ID}"),
        (changed(dst_node_id=node_id), "no reply to the SuperLink"),
        (changed(reply_to_message_id=""), "no reply to the SuperLink"),
        (changed(message_id="another"), "an object tree of another message"),
        (PushMessagesRequest(node=Node(node_id=node_id)), "0 messages with 0 object trees"),
    ]
    two = changed()
    two.messages_list.append(two.messages_list[0])
    for request, reason in [*cases, (two, "2 messages with 1 object trees")]:
        answer = push(link, request)
        assert (answer.status_code, reason in answer.text) == (403, True), answer.text


@pytest.mark.slow
def test_a_reply_of_a_thousand_objects_is_refused(link: Link):
    node_id = node_of(link)
    for count, refused in ((17, False), (18, True)):
        children = [ObjectTree(object_id=f"{n:064x}") for n in range(1, count)]
        request = reply_of(node_id)
        request.message_object_trees[0].children.extend(children)
        answer = push(link, request)
        assert (answer.status_code == 413) is refused, answer.text
    assert "18 objects, at most 17" in json.dumps(answer.json())


@pytest.mark.slow
def test_a_node_that_is_taken_out_is_refused(link: Link):
    key = NodeKey()
    node_id = link.control.register_node(key.public, "guest")
    pull = PullMessagesRequest(node=Node(node_id=node_id)).SerializeToString()
    request = ActivateNodeRequest(public_key=key.public, heartbeat_interval=30)
    body = request.SerializeToString()
    assert link.post("/v1/fleet/activate-node", body, **key.headers()).status_code == 200
    assert link.post("/v1/fleet/pull-messages", pull, **key.headers()).status_code == 200
    link.control.unregister_node(node_id)
    assert link.post("/v1/fleet/pull-messages", pull, **key.headers()).status_code == 401
    with pytest.raises(SuperLinkError, match="RegisterNode refused"):
        link.control.register_node(link.member.public, "twice")
