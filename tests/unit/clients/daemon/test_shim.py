"""The thin ClientApp: what goes in at the node comes out at the daemon, and back."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)

from clients.daemon import relay
from clients.daemon.shim import Relay
from coordinator.local.channel import ChannelServer, Reply
from coordinator.local.frames import ChannelError, FrameLimits
from coordinator.local.paths import socket_path
from coordinator.protocol.wire import RUN_TOKEN

LIMITS = FrameLimits(max_attachment_bytes=1 << 24)


def message(content: RecordDict, kind: str = "train") -> Message:
    metadata = Metadata(2**63 + 5, "m1", 1, 2**64 - 1, "", "7", time.time(), 3600.0, kind)
    return Message(content, metadata=metadata)


def context(path) -> Context:
    config = {"lr": 0.5, "n": 3, RUN_TOKEN: "0123456789abcdef"}
    return Context(1, 2, {relay.SOCKET_SETTING: str(path)}, RecordDict(), config)


def content() -> RecordDict:
    values = np.arange(6, dtype=np.int32)
    arrays = {"a": Array(values), "b": Array(values.reshape(2, 3) / 4)}
    return RecordDict(
        {
            "one": ArrayRecord({"x": Array(values[::-1].copy())}),
            "two": ArrayRecord(arrays),
            "none": ArrayRecord({}),
            "config": ConfigRecord({"text": "é", "raw": b"\0\1", "list": [1, 2], "flag": True}),
            "metrics": MetricRecord({"num-examples": 3, "loss": [0.5, 2.0**-40]}),
        }
    )


class Daemon:
    """Answers with what ``answer`` makes of a message; remembers what it was asked."""

    def __init__(self, path, answer):
        self.path, self.answer, self.asked = path, answer, []

    def __enter__(self):
        self.server = ChannelServer(self.path, {relay.CALL: self.handle}, LIMITS)
        return self

    def __exit__(self, *_):
        self.server.stop()

    def handle(self, request):
        asked = relay.unpack_request(request.args, request.attachments)
        self.asked.append((asked, request.args["run_config"]))
        return Reply(*relay.pack_reply(self.answer(asked)))


def same(one: RecordDict, other: RecordDict) -> bool:
    return (
        dict(one.array_records) == dict(other.array_records)
        and dict(one.config_records) == dict(other.config_records)
        and dict(one.metric_records) == dict(other.metric_records)
    )


def test_content_and_metadata_arrive_whole_in_both_directions(tmp_path):
    sent = message(content(), "train.special")
    with Daemon(
        socket_path(tmp_path, "d"), lambda asked: Message(asked.content, reply_to=asked)
    ) as daemon:
        reply = Relay()(sent, context(daemon.path))
    ((asked, run_config),) = daemon.asked
    assert same(asked.content, content())
    assert same(reply.content, content())
    assert run_config == {"lr": 0.5, "n": 3}  # and not the token of the coordinator's run
    for field in ("run_id", "message_id", "src_node_id", "dst_node_id", "group_id", "ttl"):
        assert getattr(asked.metadata, field) == getattr(sent.metadata, field)
    assert asked.metadata.message_type == "train.special"
    assert asked.metadata.created_at == sent.metadata.created_at
    assert reply.metadata.reply_to_message_id == "m1"
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (2**64 - 1, 1)


def test_the_daemons_error_is_passed_on(tmp_path):
    with Daemon(
        socket_path(tmp_path, "d"), lambda m: Message(Error(6, "fedproof/x: y"), reply_to=m)
    ) as daemon:
        reply = Relay()(message(RecordDict()), context(daemon.path))
    assert (reply.error.code, reply.error.reason) == (6, "fedproof/x: y")


def test_a_defect_of_the_daemon_is_an_error_with_a_code(tmp_path):
    with Daemon(socket_path(tmp_path, "d"), lambda m: 1 / 0) as daemon:
        reply = Relay()(message(RecordDict()), context(daemon.path))
    assert reply.error.reason.startswith("fedproof/client-failure: message: a defect: ZeroDiv")


def test_a_daemon_that_is_away_is_waited_for_and_then_named(tmp_path):
    path = socket_path(tmp_path, "d")
    reply = Relay(patience_s=0.1)(message(RecordDict()), context(path))
    assert reply.error.reason.startswith(f"fedproof/daemon-away: {path}: nobody answers there")
    assert reply.metadata.reply_to_message_id == "m1"
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(Relay(patience_s=30)(message(content()), context(path)))
    )
    asking.start()
    with Daemon(path, lambda asked: Message(asked.content, reply_to=asked)):
        asking.join(30)
    assert same(answers[0].content, content())


def test_a_daemon_that_dies_over_a_message_is_asked_again(tmp_path):
    path = socket_path(tmp_path, "d")
    first = Daemon(path, lambda asked: Message(asked.content, reply_to=asked))
    broken = threading.Event()

    def die(asked):
        broken.set()
        first.server._listener.close()
        for connection, _ in list(first.server._open.values()):
            connection.shutdown(2)
        return Message(asked.content, reply_to=asked)

    first.answer = die
    answers = []
    with first:
        asking = threading.Thread(
            target=lambda: answers.append(Relay(patience_s=30)(message(content()), context(path)))
        )
        asking.start()
        assert broken.wait(30)
    with Daemon(path, lambda asked: Message(asked.content, reply_to=asked)) as second:
        asking.join(30)
    assert same(answers[0].content, content())
    assert len(second.asked) == 1


@pytest.mark.parametrize("value", [None, "", 3])
def test_a_node_without_the_socket_is_told_so(value):
    config = {} if value is None else {relay.SOCKET_SETTING: value}
    reply = Relay()(message(RecordDict()), Context(1, 2, config, RecordDict(), {}))
    assert "client-failure: node config: fedproof-socket is" in reply.error.reason


@pytest.mark.parametrize(
    ("header", "attachments"),
    [
        ({"arrays": []}, []),
        ({"arrays": []}, [b"\xff\xff"]),
        ({}, [b""]),
        ({"arrays": [["a", [["x", "int32", [1], "numpy.ndarray", 5]]]]}, [b"", b"1234"]),
        ({"arrays": [["a", []]]}, [b"", b"1234"]),
        ({"arrays": [["a", []], ["b", []]]}, [b"", b""]),
        ({"arrays": [["a", 3]]}, [b"", b""]),
    ],
)
def test_malformed_records_are_refused(header, attachments):
    with pytest.raises(ChannelError, match="malformed records"):
        relay.unpack_records(header, attachments)


@pytest.mark.parametrize("metadata", [None, {}, {"run": "x"}])
def test_malformed_metadata_is_refused(metadata):
    header, attachments = relay.pack_request(message(content()), context("p"))
    with pytest.raises(ChannelError, match="malformed message"):
        relay.unpack_request({**header, "metadata": metadata}, attachments)


def test_it_imports_neither_torch_nor_web3_nor_a_key():
    code = (
        "import sys, clients.daemon.shim; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'web3', 'eth_account', 'numba', 'coincurve', 'pydantic'}), "
        "'coordinator.local.keyfile' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[] False\n", done.stderr
