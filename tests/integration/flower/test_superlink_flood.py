"""Strangers who hold connections to the SuperLink keep nobody else out: sockets, small limits."""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from tls_files import TlsFiles, make_tls

from contracts.node.serving import ServerHandle
from coordinator.flower.superlink import LIMITS, fair_listener, server_of
from coordinator.http import listener as listener_module
from coordinator.http.limits import HttpLimits
from coordinator.http.listener import FairListener, RepeatFilter, room_for
from coordinator.protocol.errors import ConfigError

SMALL = HttpLimits(connections_per_client=4, connections=10, header_s=1.0, keep_alive_s=120)


async def app(scope, receive, send) -> None:
    """What is served: a short answer to anything."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


class Served:
    """A server as the SuperLink's, and peers of it from addresses of 127.0.0.0/8."""

    def __init__(self, tls: TlsFiles, stack: contextlib.ExitStack) -> None:
        self.listener = fair_listener("127.0.0.1", 0, SMALL)
        self.port = self.listener.getsockname()[1]
        server = server_of(
            app, SMALL, ssl_certfile=tls.certificate, ssl_keyfile=tls.key, log_config=None
        )
        stack.enter_context(ServerHandle(server, self.listener, f"https://127.0.0.1:{self.port}"))
        self._context = ssl.create_default_context(cafile=str(tls.ca))
        self._stack = stack

    def knock(self, peer: str) -> socket.socket:
        """Connect, and say nothing."""
        return self._stack.enter_context(
            socket.create_connection(("127.0.0.1", self.port), 20, source_address=(peer, 0))
        )

    def shake(self, peer: str) -> ssl.SSLSocket:
        """Connect, and say nothing after the handshake."""
        raw = self.knock(peer)
        return self._stack.enter_context(
            self._context.wrap_socket(raw, server_hostname="localhost")
        )

    def open(self, peer: str) -> http.client.HTTPSConnection:
        where = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=self._context, source_address=(peer, 0)
        )
        self._stack.callback(where.close)
        return where

    def ask(self, peer: str) -> int | str:
        """Ask, and return the status, or that there was no answer."""
        with contextlib.closing(self.open(peer)) as connection:
            try:
                return status_of(connection)
            except OSError as error:
                return type(error).__name__


def status_of(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.read() == b"ok"
    return answer.status


def ended(connection: socket.socket) -> bool:
    """Wait until the other side has ended the connection."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(4096):
            continue
    return True


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def served(tls: TlsFiles) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        yield Served(tls, stack)


def test_silent_connections_of_one_address_keep_no_other_out(served: Served):
    silent = [served.knock("127.0.0.2") for _ in range(12)]  # no handshake: TLS waits a minute
    for refused in silent[4:]:
        assert ended(refused)
    assert served.ask("127.0.0.3") == 200
    assert served.ask("127.0.0.1") == 200
    assert isinstance(served.ask("127.0.0.2"), str)
    for connection in silent:
        connection.close()
    until(lambda: served.ask("127.0.0.2") == 200)


def test_whoever_says_nothing_after_the_handshake_is_sent_away(served: Served):
    silent = [served.shake("127.0.0.2") for _ in range(4)]
    assert served.ask("127.0.0.3") == 200
    assert all(map(ended, silent))
    until(lambda: served.ask("127.0.0.2") == 200)


def test_many_addresses_together_leave_room_for_our_own_processes(served: Served):
    for last in (2, 3, 4):
        for _ in range(4):
            served.knock(f"127.0.0.{last}")
    until(lambda: sum(served.listener._open.values()) == 10)
    assert isinstance(served.ask("127.0.0.9"), str)
    own = [served.open("127.0.0.1") for _ in range(20)]  # SuperLink, executor, all on one machine
    assert [status_of(connection) for connection in own] == [200] * 20


def test_a_connection_that_is_used_now_and_then_stays(served: Served):
    kept = served.open("127.0.0.2")
    assert status_of(kept) == 200
    first = kept.sock
    time.sleep(1.5 * SMALL.header_s)  # a node asks every few seconds, and keeps its connection
    assert status_of(kept) == 200
    assert kept.sock is first


def test_who_leaves_is_not_counted_any_more(served: Served):
    for _ in range(3 * SMALL.connections_per_client):
        assert served.ask("127.0.0.2") == 200
        until(lambda: not served.listener._open)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen there: Address"):
            fair_listener("127.0.0.1", port, LIMITS)


def test_it_cannot_be_reached_before_it_is_served():
    with fair_listener("127.0.0.1", 0, LIMITS) as bound:
        assert socket.socket().connect_ex(bound.getsockname()) != 0


def test_refusals_are_told_seldom(caplog: pytest.LogCaptureFixture):
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        FairListener(plain, HttpLimits(connections_per_client=0)) as listener,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            with pytest.raises(ConnectionAbortedError):
                listener.accept()
    assert [one.message for one in caplog.records] == [
        "127.0.0.1: refused: more than 0 connections"
    ]
    clock = SimpleNamespace(now=0.0)
    repeat_filter = RepeatFilter(lambda: clock.now)
    assert [
        repeat_filter.is_news("a", "x"),
        repeat_filter.is_news("a", "x"),
        repeat_filter.is_news("a", "y"),
    ] == [
        True,
        False,
        True,
    ]
    clock.now += listener_module.QUIET_S
    assert repeat_filter.is_news("a", "x")
    assert sum(repeat_filter.is_news(f"p{n}", "x") for n in range(1_000)) == 255


def test_open_files_follow_what_the_system_permits(monkeypatch: pytest.MonkeyPatch):
    limits = SimpleNamespace(now=(1_024, 4_096))
    fake = SimpleNamespace(
        RLIMIT_NOFILE=7,
        RLIM_INFINITY=-1,
        getrlimit=lambda _: limits.now,
        setrlimit=lambda _, new: setattr(limits, "now", new),
    )
    monkeypatch.setattr(listener_module, "resource", fake)
    assert room_for(2_000) == 2_000
    assert limits.now == (2_512, 4_096)
    limits.now = (256, 1_024)
    assert room_for(2_000) == 512
    assert limits.now == (1_024, 1_024)
    limits.now = (1_024, -1)
    assert room_for(2_000) == 2_000
    limits.now = (-1, -1)
    assert (room_for(2_000), limits.now) == (2_000, (-1, -1))
