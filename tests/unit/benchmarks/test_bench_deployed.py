"""What the benchmark of a federation works with: a round's phases, bytes on the wire."""

import socket
import threading

import pytest

from benchmarks.deployed.byte_counter import HOST, ByteCounter, Bytes
from benchmarks.deployed.timeline import RoundTimes, latencies, phases, rounds_of


def line(event, round_id, time, **by):
    return {"event": event, "round": round_id, "time": time, **by}


FIRST = [
    line("opened", 1, 10.0),
    line("begun", 1, 11.0, by=0),
    line("begun", 1, 13.0, by=1),
    line("trained", 1, 15.0, by=0),
    line("trained", 1, 14.0, by=1),
    line("received", 1, 16.0),
    line("received", 1, 17.0),
    line("sealed", 1, 18.0),
]
SECOND = [
    line("opened", 2, 18.5),
    line("begun", 2, 20.0, by=1),
    line("trained", 2, 21.0, by=1),
    line("received", 2, 23.0),
]


def test_a_rounds_times_are_those_of_who_was_done_last():
    assert rounds_of(FIRST + SECOND) == [RoundTimes(10.0, 11.0, 15.0, 17.0, 18.0)]


def test_phases_make_up_the_round():
    rounds = rounds_of([*FIRST, *SECOND, line("sealed", 2, 23.25)])
    assert latencies(rounds) == [5.25]
    assert phases(rounds) == [[0.5, 1.5, 1.0, 2.0, 0.25]]


@pytest.fixture
def message_handler():
    """A server that answers four bytes for what it gets, and hangs up."""
    with socket.create_server((HOST, 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    while connection.recv(1_000):
                        pass
                    connection.sendall(b"done")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_what_passes_is_counted_and_passes_unchanged(message_handler):
    with ByteCounter({"other": 1, "this": message_handler}) as byte_counter:
        for size in (3, 1_000_000):
            with socket.create_connection((HOST, byte_counter.ports["this"]), timeout=30) as client:
                client.sendall(b"x" * size)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(10) == b"done"
        assert byte_counter.read("this") == Bytes(up=1_000_003, down=8)
        assert byte_counter.read("this").since(Bytes(3, 4)) == Bytes(1_000_000, 4)
        with socket.create_connection((HOST, byte_counter.ports["other"]), timeout=30) as client:
            assert client.recv(1) == b""  # nobody listens there
        assert byte_counter.read("other") == Bytes(0, 0)
