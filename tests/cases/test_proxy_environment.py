"""A proxy in the environment: what talks to our own addresses does not go through it."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tls_files import make_tls

from clients.daemon.node_session import deactivate_node
from clients.daemon.supernode import child_environment
from coordinator.flower.superlink_control import SuperLinkControl, SuperLinkError


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What a proxy that the environment names is asked for."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(1_000).splitlines()[0])

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield asked
        server.shutdown(socket.SHUT_RDWR)


def test_the_coordinator_reaches_its_superlink_without_it(
    proxied: list[bytes], tmp_path: Path
) -> None:
    ca = make_tls(tmp_path).ca.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    control = SuperLinkControl(f"127.0.0.1:{port}", ca, "secret")
    with pytest.raises(SuperLinkError):
        control.nodes()
    control.close()
    assert proxied == []


def test_a_participant_ends_the_session_of_a_dead_supernode_without_it(
    proxied: list[bytes], tmp_path: Path
) -> None:
    made = make_tls(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "node.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert not deactivate_node(f"127.0.0.1:{port}", made.ca, file)(4711)
    assert proxied == []


def test_a_participants_flower_processes_do_not_see_it(
    proxied: list[bytes], tmp_path: Path
) -> None:
    given = child_environment(os.environ, tmp_path, "mark")
    assert [name for name in given if name.lower().endswith("_proxy")] == []
