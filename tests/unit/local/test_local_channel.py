"""The local channel: calls, attachments, typed errors, limits and strangers."""

import os
import socket
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from coordinator.local import channel
from coordinator.local.channel import ChannelClient, ChannelServer, Peer, Reply, Request
from coordinator.local.failures import error_from, error_header
from coordinator.local.frames import (
    ChannelClosedError,
    ChannelError,
    FrameLimits,
    receive_frame,
    send_frame,
)
from coordinator.local.paths import SUN_PATH_BYTES, private_folder, socket_path
from coordinator.protocol import errors
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import ConfigError, ContributorError, FedproofError
from coordinator.protocol.types import Address, RoundId, Signed, UpdateMessage

LIMITS = FrameLimits(max_attachment_bytes=1 << 26)


def echo(request: Request) -> Reply:
    return Reply(request.args, request.attachments)


def add_up(request: Request) -> Reply:
    vector = np.frombuffer(request.attachments[0], np.int32)
    return Reply({"sum": int(vector.sum(dtype=np.int64)), "pid": request.peer.pid})


def refuse(request: Request) -> Reply:
    raise ContributorError(
        "update: too bad", code="too-bad", contributor="0xAB", round_id=7, found="1", expected="2"
    )


def break_down(request: Request) -> Reply:
    raise KeyError("no such thing")


HANDLERS = {"echo": echo, "add_up": add_up, "refuse": refuse, "break_down": break_down}


@pytest.fixture
def server(tmp_path: Path):
    with ChannelServer(socket_path(tmp_path, "test"), HANDLERS, LIMITS) as started:
        yield started


def test_calls_carry_arguments_and_attachments_both_ways(server: ChannelServer):
    vector = np.arange(3_000_000, dtype=np.int32)
    with ChannelClient(server.path, LIMITS) as client:
        answer = client.call("echo", {"a": [1, None, "é"]}, [vector.data, b"", b"xyz"])
        assert answer.args == {"a": [1, None, "é"]}
        assert np.array_equal(np.frombuffer(answer.attachments[0], np.int32), vector)
        assert [bytes(a) for a in answer.attachments[1:]] == [b"", b"xyz"]
        added = client.call("add_up", {}, [vector])
    assert added.args == {"sum": 3_000_000 * 2_999_999 // 2, "pid": os.getpid()}


def test_many_clients_at_once_get_their_own_answers(server: ChannelServer):
    found: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        with ChannelClient(server.path, LIMITS) as client:
            found[number] = [client.call("echo", {"n": number}).args["n"] for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [n] * 20 for n in range(10)}


def test_errors_arrive_as_what_they_are_and_the_connection_goes_on(server: ChannelServer):
    with ChannelClient(server.path, LIMITS) as client:
        with pytest.raises(ContributorError, match="too bad") as refused:
            client.call("refuse")
        assert (refused.value.code, refused.value.contributor) == ("too-bad", "0xAB")
        assert (refused.value.round_id, refused.value.found, refused.value.expected) == (
            7,
            "1",
            "2",
        )
        with pytest.raises(FedproofError, match="break_down: a defect: KeyError: 'no such thing'"):
            client.call("break_down")
        with pytest.raises(FedproofError, match="no call 'nothing'"):
            client.call("nothing")
        assert client.call("echo", {"still": "here"}).args == {"still": "here"}


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreError("disk full"),
        errors.BlobMissingError("gone"),
        errors.TransactionRevertedError("reverted", reason="rounds: not open"),
        errors.SignatureError("high", code="high-s"),
        errors.AggregationError("too few"),
        ChannelError("local"),
    ],
)
def test_each_kind_of_error_survives_the_journey(error: FedproofError):
    back = error_from(error_header(error))
    expected = type(error) if type(error) is not ChannelError else FedproofError
    assert type(back) is expected
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_equivocation_travels_without_its_evidence():
    message = UpdateMessage(RoundId(3), b"\0" * 32, b"\1" * 32, 5, b"\2" * 32)
    signed = Signed(Address("0x" + "11" * 20), message, b"\0" * 65)
    error = EquivocationError("two updates", evidence=(signed, signed))
    back = error_from(error_header(error))
    assert type(back) is ContributorError
    assert (back.code, back.round_id) == ("equivocation", 3)


def test_lengths_are_refused_before_anything_is_allocated(tmp_path: Path):
    near, far = socket.socketpair()
    with near, far:
        near.sendall(struct.pack(">4sIHQ", b"FPF1", 2, 1, 1 << 60))
        with pytest.raises(ChannelError, match=f"{1 << 60} bytes attached, at most 67108864"):
            receive_frame(far, LIMITS)
    for start, reason in (
        (struct.pack(">4sIH", b"HTTP", 0, 0), "starts with b'HTTP'"),
        (struct.pack(">4sIH", b"FPF1", 1 << 30, 0), "header of 1073741824 bytes"),
        (struct.pack(">4sIH", b"FPF1", 2, 9999), "9999 attachments"),
        (struct.pack(">4sIH", b"FPF1", 2, 0) + b"[]", "is a list"),
        (struct.pack(">4sIH", b"FPF1", 2, 0) + b"{x", "not JSON"),
    ):
        near, far = socket.socketpair()
        with near, far:
            near.sendall(start)
            with pytest.raises(ChannelError, match=reason):
                receive_frame(far, LIMITS)


def test_a_frame_too_large_ends_its_own_connection_only(server: ChannelServer):
    with ChannelClient(server.path, LIMITS) as good:
        bad = ChannelClient(server.path, LIMITS)
        with pytest.raises(ChannelClosedError):
            bad.call("echo", {}, [np.zeros(LIMITS.max_attachment_bytes + 1, np.uint8)])
        assert good.call("echo", {"n": 1}).args == {"n": 1}


def test_an_end_inside_a_frame_differs_from_one_between_frames():
    near, far = socket.socketpair()
    with far:
        with near:
            send_frame(near, {"n": 1})
            near.sendall(b"FPF1")
        frame = receive_frame(far, LIMITS)
        assert frame is not None
        assert frame.header == {"n": 1}
        with pytest.raises(ChannelClosedError, match="inside a frame"):
            receive_frame(far, LIMITS)
    near, far = socket.socketpair()
    with far:
        near.close()
        assert receive_frame(far, LIMITS) is None


def test_a_disconnect_is_told_with_the_peer_that_called(tmp_path: Path):
    seen: list[Peer] = []
    gone: list[Peer] = []
    told = threading.Event()

    def remember(request: Request) -> Reply:
        seen.append(request.peer)
        return Reply()

    def left(peer: Peer) -> None:
        gone.append(peer)
        told.set()

    with ChannelServer(socket_path(tmp_path, "t"), {"x": remember}, None, left) as server:
        with ChannelClient(server.path) as client:
            client.call("x")
        assert told.wait(10)
    assert gone == seen == [Peer(1, os.getpid())]


def test_an_answer_that_does_not_come_in_time_closes_the_client(tmp_path: Path):
    released = threading.Event()

    def hang(request: Request) -> Reply:
        released.wait(30)
        return Reply()

    with ChannelServer(socket_path(tmp_path, "t"), {"x": hang}) as server:
        client = ChannelClient(server.path)
        with pytest.raises(ChannelError, match="in time"):
            client.call("x", timeout_s=0.05)
        with pytest.raises(ChannelClosedError):
            client.call("x", timeout_s=0.05)
        released.set()


def test_another_user_is_not_let_in(server: ChannelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(channel, "_credentials", lambda _connection: (1234, os.getuid() + 1))
    client = ChannelClient(server.path)
    with pytest.raises(ChannelClosedError):
        client.call("echo")


def test_a_second_server_is_refused_and_a_dead_ones_socket_replaced(tmp_path: Path):
    path = socket_path(tmp_path, "t")
    with ChannelServer(path, HANDLERS), pytest.raises(ConfigError, match="another process answers"):
        ChannelServer(path, HANDLERS)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    with ChannelServer(path, HANDLERS), ChannelClient(path) as client:
        assert client.call("echo", {"n": 2}).args == {"n": 2}
    with pytest.raises(ChannelClosedError, match="nobody answers there"):
        ChannelClient(path, connect_s=0.05)


def test_a_client_waits_for_a_server_that_is_on_its_way(tmp_path: Path):
    path = socket_path(tmp_path, "t")
    started: list[ChannelServer] = []
    later = threading.Timer(0.2, lambda: started.append(ChannelServer(path, HANDLERS)))
    later.start()
    with ChannelClient(path, connect_s=20) as client:
        assert client.call("echo", {"n": 3}).args == {"n": 3}
    later.join()
    started[0].stop()


def test_long_state_folders_get_a_short_socket(monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory() as short_name:
        base = Path(short_name)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
        short = socket_path(base, "service")
        assert short == base / "run" / "service.sock"
        assert short.parent.stat().st_mode & 0o777 == 0o700
        deep = base.joinpath(*["folder-of-a-long-name"] * 6)
        found = socket_path(deep, "service")
        assert found.parent == base / "fedproof"
        assert len(os.fsencode(found)) <= SUN_PATH_BYTES
        assert found == socket_path(deep, "service")
        assert found != socket_path(deep.parent, "service")
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        with pytest.raises(ConfigError, match="at most 107 bytes is needed"):
            socket_path(deep, "service")


def test_a_folder_open_to_others_is_closed_and_a_file_refused(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    assert private_folder(folder).stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        private_folder(tmp_path / "file")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="expected a folder"):
        private_folder(tmp_path / "link")
