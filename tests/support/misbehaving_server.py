"""A server of raw bytes: answers each connection with the next reaction that a test gives."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Reaction = bytes | Callable[[socket.socket], None]
"""Bytes to answer with before closing, or what to do with the connection."""


@dataclass
class Misbehaving:
    """Where it listens, and the requests that it received, one text per connection."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def misbehaving(reactions: Sequence[Reaction]) -> Iterator[Misbehaving]:
    """Serve the reactions in turn; the last one is repeated."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Misbehaving(f"http://127.0.0.1:{listener.getsockname()[1]}")

    def serve() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                server.asked.append(connection.recv(65536).decode("latin-1"))
                reaction = reactions[min(number, len(reactions) - 1)]
                number += 1
                try:
                    if callable(reaction):
                        reaction(connection)
                    else:
                        connection.sendall(reaction)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
        assert not thread.is_alive()


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """An HTTP answer that closes the connection."""
    named = {"Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body
