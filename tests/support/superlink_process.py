"""A process of Flower's SuperLink behind Fedproof's guard, with one registered node."""

import contextlib
import datetime
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flower_deployment import BIN, ROOT, free_port
from flwr.supercore.primitives.asymmetric import (
    generate_key_pairs,
    public_key_to_bytes,
    sign_message,
)
from flwr.supercore.version import package_version

from coordinator.flower.guard import GuardFile
from coordinator.flower.superlink_control import SuperLinkControl
from coordinator.founding.certificates import make_authority, make_server
from coordinator.protocol.wire import FLOWER_ENVIRONMENT

VECTOR_BYTES = 40_000
SECRET = "between us"


class NodeKey:
    """A SuperNode's identity."""

    def __init__(self) -> None:
        self._private, public = generate_key_pairs()
        self.public = public_key_to_bytes(public)

    def write(self, file: Path) -> None:
        """Write the private key as a SuperNode reads it."""
        kept = self._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        file.touch(mode=0o600)
        file.write_bytes(kept)

    def headers(self, off_s: float = 0.0) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=off_s)
        signed = now.isoformat()
        return {
            "flwr-public-key": b64encode(self.public).decode(),
            "flwr-timestamp": signed,
            "flwr-signature": b64encode(sign_message(self._private, signed.encode())).decode(),
            "content-type": "application/protobuf",
            "accept": "application/protobuf",
            "flwr-package-name": "flwr",
            "flwr-package-version": package_version,
            "flwr-component-name": "SuperNode",
        }


@dataclass
class Link:
    """A running SuperLink."""

    process: subprocess.Popen
    port: int
    ca: Path
    control: SuperLinkControl
    member: NodeKey

    def post(self, path: str, body: object = b"", **headers: str) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(self.ca))
        with httpx.Client(verify=context, timeout=30) as client:
            return client.post(
                f"https://127.0.0.1:{self.port}{path}", content=body, headers=headers
            )

    def resident_mb(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) >> 10


@contextlib.contextmanager
def superlink_process(folder: Path) -> Iterator[Link]:
    """Run one in a folder; its log is ``folder / "log"``."""
    authority = make_authority("test")
    server = make_server(authority, ["127.0.0.1"])
    files = {"ca.crt": authority.certificate, "s.crt": server.certificate, "s.key": server.key}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    GuardFile(VECTOR_BYTES, SECRET, registered_only=True).write(folder / "guard.json")
    (folder / "executor").write_bytes(b"executor")
    port = free_port()
    command = [sys.executable, "-m", "coordinator.flower.superlink", str(folder / "guard.json")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--isolation", "process"]
    command += ["--database", str(folder / "flower.db"), "--enable-supernode-auth"]
    command += ["--ssl-certfile", str(folder / "s.crt"), "--ssl-keyfile", str(folder / "s.key")]
    command += ["--ssl-ca-certfile", str(folder / "ca.crt")]
    command += ["--superexec-auth-secret-file", str(folder / "executor")]
    env = {
        **os.environ,
        **FLOWER_ENVIRONMENT,
        "FLWR_HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        control = SuperLinkControl(f"127.0.0.1:{port}", authority.certificate, SECRET)
        member = NodeKey()
        control.register_node(member.public, "member")
        yield Link(process, port, folder / "ca.crt", control, member)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
