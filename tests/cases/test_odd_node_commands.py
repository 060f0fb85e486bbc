"""Commands at a node that answers oddly: one line, status 5, and never a Python error."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from federation_world import CONTRIBUTORS
from http_bench import save_key
from scripted_node import ScriptedFederation
from typer.testing import CliRunner

from coordinator.protocol.errors import LedgerError
from simulations.cli import app

ACCOUNT = CONTRIBUTORS[0]


class OddNode:
    """The scripted chain over HTTP; ``odd`` replaces the answers of one method, byte by byte."""

    def __init__(self, scripted: ScriptedFederation) -> None:
        self.odd: dict[str, bytes] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer: Any = outer.odd.get(asked["method"])
                if answer is None:
                    found: Any = scripted.provider.chain.make_request(
                        asked["method"], asked["params"]
                    )
                    answer = json.dumps({**found, "id": asked["id"]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def node(scripted: ScriptedFederation) -> Iterator[OddNode]:
    made = OddNode(scripted)
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def answered(value: str) -> bytes:
    return b'{"jsonrpc": "2.0", "id": 1, "result": ' + value.encode() + b"}"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("eth_call", answered("null")),
        ("eth_call", answered('"0x123"')),
        ("eth_call", answered('"0x"')),
        ("eth_call", b'{"jsonrpc": "2.0", "id": 1, "result": "\xff\xfe"}'),
        ("eth_call", b"[]"),
        ("eth_getBalance", answered('"0x"')),
        ("eth_getBalance", answered("17")),
        ("eth_getBlockByNumber", answered("{}")),
        ("eth_getBlockByNumber", answered('{"timestamp": null}')),
        ("eth_getCode", answered("null")),
    ],
)
def test_balance_ends_with_one_line(
    node: OddNode, scripted: ScriptedFederation, tmp_path: Path, method: str, answer: bytes
) -> None:
    save_key(tmp_path / "key.json", ACCOUNT, "correct horse")
    command = [
        "balance", "--rpc", node.url, "--contract", scripted.federation.address,
        "--key", str(tmp_path / "key.json"),
    ]  # fmt: skip
    assert CliRunner().invoke(app, command).exit_code == 0
    node.odd[method] = answer
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, LedgerError), error
    assert error.exit_code == 5
    name = "terms" if b'"0x"' in answer and method == "eth_call" else method
    assert f"node {node.url}: {name}" in str(error)
    assert "\n" not in str(error)
