"""Starts ``fedproof`` commands without waiting for their imports (``warm_server``).

``WarmProcess`` has the part of the interface of ``subprocess.Popen`` that the tests use.
"""

import functools
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER = Path(__file__).with_name("warm_server.py")


class WarmProcess:
    """One command, forked from the server, which is its parent."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        stdio: Sequence[int],
        *,
        session: bool,
    ) -> None:
        self.args = ["fedproof", *arguments]
        self.returncode: int | None = None
        self._status_pipe, answer = os.pipe()
        request = {
            "arguments": list(arguments),
            "env": dict(env),
            "cwd": str(cwd or Path.cwd()),
            "session": session,
        }
        data = json.dumps(request).encode()
        sent = socket.send_fds(server(_imports(env)), [data], [*stdio, answer])
        os.close(answer)
        assert sent == len(data)
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """Return the exit status if the command has ended; minus the signal that killed it."""
        if self.returncode is None and select.select([self._status_pipe], [], [], 0)[0]:
            self.returncode = int(self._line())
            os.close(self._status_pipe)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            select.select([self._status_pipe], [], [], left)
        assert self.returncode is not None
        return self.returncode

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._status_pipe, 1)
            assert byte, "the server that commands are forked from has died"
            line += byte
        return line


def _imports(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what modules read of the environment when they are imported."""
    per_command = ("FEDPROOF_", "PYTEST_", "HOME", "TMPDIR", "_", "PWD", "OLDPWD", "SHLVL")
    return tuple(sorted((k, v) for k, v in env.items() if not k.startswith(per_command)))


@functools.cache
def server(env: tuple[tuple[str, str], ...]) -> socket.socket:
    """Start a server; it ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen([sys.executable, str(SERVER)], env=dict(env), stdin=theirs)
    theirs.close()
    return ours
