"""Starts the process that workers are forked from, early and in the background.

Importing torch and other large modules takes seconds; the server does it while this process
imports its own. Imports nothing large itself. Optional: a pool starts the server if needed.
"""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, get_context

DEFAULT_PRELOAD = ("simulations.run.preload",)


def start_server(preload: Sequence[str] = DEFAULT_PRELOAD) -> None:
    """Start the fork server if it does not run yet; returns at once.

    The first call of a process decides which modules are preloaded, with this process's search
    path.
    """
    get_context("forkserver").set_forkserver_preload(["fedproof", "__main__", *preload])
    atexit.register(_end_server, os.getpid())
    before = os.environ.get("PYTHONPATH")
    # The server does not inherit sys.path, and ignores modules that it cannot import.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _end_server(owner: int) -> None:
    """Kill the server: while it imports it does not notice that its owner has ended.

    It has the owner's standard output and error, so whatever reads those would wait for it.
    """
    pid = vars(forkserver)["_forkserver"]._forkserver_pid
    if pid is not None and os.getpid() == owner:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
