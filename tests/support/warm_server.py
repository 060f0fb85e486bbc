"""Forks ``fedproof`` commands from a process that has imported everything already.

Every command is a separate process, as from a shell, with its own arguments, environment, folder
and output; only the imports, which take seconds, are shared. Programs that a command executes
(Flower's) start as usual; the fork server of the worker processes, whose preloaded modules are
imported here too, is forked as well. The server has one thread only: a fork copies no others.

Started by ``warm_command`` with a Unix socket as descriptor 0.
"""

import atexit
import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing import util
from typing import Any

FORK_SERVER = "from multiprocessing.forkserver import main"


def run_command(request: dict[str, Any], stdio: Sequence[int]) -> int:
    """Run the command in this process, and return its exit status."""
    if request["session"]:
        os.setsid()
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number)
    os.closerange(3, max(stdio) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    # It puts settings into the environment, which was just cleared.
    importlib.reload(sys.modules["coordinator.flower.environment"])
    command = sys.modules["simulations.__main__"]
    sys.modules["__main__"] = command
    sys.argv = ["fedproof", *request["arguments"]]
    try:
        command.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(status: int) -> None:
    """End this process as the interpreter does."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


_spawn = util.spawnv_passfds


def spawn(path: Any, arguments: Sequence[Any], passfds: Sequence[int]) -> int:
    """Start a helper process of ``multiprocessing``: the fork server by a fork, others as usual."""
    if not str(arguments[-1]).startswith(FORK_SERVER):
        return _spawn(path, arguments, passfds)
    pid = os.fork()
    if pid:
        return pid
    try:
        atexit._clear()
        kept = {0, 1, 2, *passfds}
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor not in kept:
                with contextlib.suppress(OSError):  # of the listing itself
                    os.close(descriptor)
        util.spawnv_passfds = _spawn
        exec(str(arguments[-1]), {"__name__": "__fork_server__"})
    finally:
        os._exit(1)


class Server:
    """Takes requests one at a time; answers with the process id, and later the exit status."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._events = selectors.DefaultSelector()
        self._events.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the test process has gone."""
        while True:
            for key, _ in self._events.select():
                if key.fileobj is self._listener:
                    self._start()
                else:
                    self._report(key)

    def _start(self) -> None:
        data, stdio, _, _ = socket.recv_fds(self._listener, 1 << 20, 4)
        if not data:
            os._exit(0)
        *stdio, answer = stdio
        pid = os.fork()
        if pid == 0:
            self._events.close()
            self._listener.close()
            os.close(answer)
            end(run_command(json.loads(data), stdio))
        for descriptor in stdio:
            os.close(descriptor)
        os.write(answer, f"{pid}\n".encode())
        self._events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answer))

    def _report(self, key: selectors.SelectorKey) -> None:
        pid, answer = key.data
        self._events.unregister(key.fileobj)
        os.close(key.fd)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):  # the test may have gone
            os.write(answer, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(answer)


def main() -> None:
    """Import what commands use, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv = ["fedproof"]
    import simulations.__main__
    import simulations.commands
    import simulations.report.markdown
    import simulations.run.preload
    import simulations.run.simulation  # noqa: F401

    signal.signal(signal.SIGINT, signal.default_int_handler)
    util.spawnv_passfds = spawn
    listener = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    assert threading.active_count() == 1, threading.enumerate()
    Server(listener).serve()


if __name__ == "__main__":
    main()
