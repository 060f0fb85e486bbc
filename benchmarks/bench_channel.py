"""The local channel against two existing ones over a Unix socket.

Each sends a small JSON object and one attachment to a server in another process, which sends the
attachment back. `ours` is `coordinator.local.channel`. `http` is uvicorn with a minimal ASGI
application, and httpx; the object is a header of the request. `multiprocessing` is its `connection`
with `send_bytes`, without pickle. Unlike `ours`, neither alternative checks the user of the other
end; `http` has no TLS context, which is not needed here. `kept` is calls over one connection, `new`
one connection per call, `started` the time that a process with Flower imported needs to import the
client and make one call, as the ClientApp does that Flower starts for every message.
"""

import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Client as MpClient
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn

from benchmarks.harness import interleaved
from coordinator.local.channel import ChannelClient, ChannelServer, Reply, Request
from coordinator.local.frames import FrameLimits

ARGS: Final = {"node": 7, "round": 12, "kind": "train", "digest": "ab" * 32}
LIMITS: Final = FrameLimits(max_attachment_bytes=1 << 27)
MEBIBYTE: Final = 1 << 20
PATTERNS: Final = (
    ("small, kept", 500, 0),
    ("small, new", 200, None),
    ("4 MiB, kept", 10, 4 * MEBIBYTE),
    ("40 MiB, kept", 2, 40 * MEBIBYTE),
)
"""Name, calls in one repetition, bytes attached; ``None`` for a connection a call."""
STARTS: Final = 5

Call = Callable[[bytes], bytes]


def _serve_ours(path: str) -> None:
    def echo(request: Request) -> Reply:
        return Reply(request.args, request.attachments)

    with ChannelServer(Path(path), {"echo": echo}, LIMITS):
        threading.Event().wait()


async def _app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    json.loads(dict(scope["headers"])[b"x-args"])
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    headers = [(b"x-args", json.dumps(ARGS).encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _serve_http(path: str) -> None:
    uvicorn.run(_app, uds=path, log_config=None, access_log=False, lifespan="off")


def _serve_multiprocessing(path: str) -> None:
    def answer(connection: Connection) -> None:
        try:
            while True:
                args = connection.recv_bytes(MEBIBYTE)
                json.loads(args)
                body = connection.recv_bytes(LIMITS.max_attachment_bytes)
                connection.send_bytes(args)
                connection.send_bytes(body)
        except EOFError:
            connection.close()

    with Listener(path, "AF_UNIX", backlog=64) as listener:
        while True:
            threading.Thread(target=answer, args=(listener.accept(),), daemon=True).start()


@contextmanager
def ours(path: Path) -> Iterator[Call]:
    """Connect by the channel."""
    with ChannelClient(path, LIMITS) as client:
        yield lambda body: bytes(client.call("echo", ARGS, [body]).attachments[0])


@contextmanager
def http(path: Path) -> Iterator[Call]:
    """Connect by httpx."""
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path), verify=False), timeout=60.0
    ) as client:

        def call(body: bytes) -> bytes:
            answer = client.post("http://here/", content=body, headers={"x-args": json.dumps(ARGS)})
            json.loads(answer.headers["x-args"])
            return answer.content

        yield call


@contextmanager
def through_multiprocessing(path: Path) -> Iterator[Call]:
    """Connect by ``multiprocessing.connection``."""
    with MpClient(str(path), "AF_UNIX") as connection:

        def call(body: bytes) -> bytes:
            connection.send_bytes(json.dumps(ARGS).encode())
            connection.send_bytes(body)
            json.loads(connection.recv_bytes(MEBIBYTE))
            return connection.recv_bytes(LIMITS.max_attachment_bytes)

        yield call


RIVALS: Final = {
    "ours": (_serve_ours, ours),
    "http": (_serve_http, http),
    "multiprocessing": (_serve_multiprocessing, through_multiprocessing),
}
_CLIENTS: Final = {
    "ours": """
from pathlib import Path
from coordinator.local.channel import ChannelClient
with ChannelClient(Path(sys.argv[1])) as client:
    client.call("echo", ARGS, [b""])
""",
    "http": """
import httpx
with httpx.Client(transport=httpx.HTTPTransport(uds=sys.argv[1], verify=False)) as client:
    client.post("http://here/", content=b"", headers={"x-args": json.dumps(ARGS)})
""",
    "multiprocessing": """
from multiprocessing.connection import Client
with Client(sys.argv[1], "AF_UNIX") as connection:
    connection.send_bytes(json.dumps(ARGS).encode())
    connection.send_bytes(b"")
    connection.recv_bytes(1 << 20), connection.recv_bytes(1 << 20)
""",
}


def _many(connect: Any, path: Path, calls: int, size: int | None) -> None:
    body = bytes(size or 0)
    if size is None:
        for _ in range(calls):
            with connect(path) as call:
                call(body)
        return
    with connect(path) as call:
        for _ in range(calls):
            if len(call(body)) != size:
                raise RuntimeError("the answer is not what was sent")


def _started(name: str, path: Path) -> float:
    """Return the seconds that a new process with Flower imported needs for import and one call."""
    script = (
        "import sys, json, time, flwr.clientapp, flwr.app\n"
        f"ARGS = {ARGS!r}\nbegan = time.perf_counter()\n{_CLIENTS[name]}"
        "print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


@contextmanager
def _servers() -> Iterator[dict[str, Path]]:
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fp-")))
        paths = {}
        for name, (serve, _connect) in RIVALS.items():
            paths[name] = folder / f"{name}.sock"
            process = context.Process(target=serve, args=(str(paths[name]),), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            _wait_for(paths[name])
        yield paths


def _wait_for(path: Path, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"{path.name}: no server after {within_s:g} s")
        time.sleep(0.05)


def run() -> list[dict[str, object]]:
    """Return one row per pattern: milliseconds per call, and ratios to ours."""
    rows = []
    with _servers() as paths:
        for pattern, calls, size in PATTERNS:
            timings = interleaved(
                {
                    name: lambda connect=connect, path=paths[name], calls=calls, size=size: _many(
                        connect, path, calls, size
                    )
                    for name, (_serve, connect) in RIVALS.items()
                }
            )
            took = {name: timing.median_s / calls for name, timing in timings.items()}
            rows.append(_row(pattern, took))
        starts: dict[str, list[float]] = {name: [] for name in RIVALS}
        for _ in range(STARTS):
            for name, path in paths.items():
                starts[name].append(_started(name, path))
        median = {name: sorted(took)[STARTS // 2] for name, took in starts.items()}
        rows.append(_row("started", median))
    return rows


def _row(pattern: str, seconds: dict[str, float]) -> dict[str, object]:
    ratios = {f"{name} / ours": took / seconds["ours"] for name, took in seconds.items()}
    del ratios["ours / ours"]
    return {"pattern": pattern, **{f"{name} ms": 1e3 * s for name, s in seconds.items()}, **ratios}
