"""Starts the process that workers are forked from, early and in the background.

Importing torch and the like takes seconds; done there while this process imports its own, it
costs nothing. Imports nothing heavy itself. Call it first thing, or not at all: a pool starts
the server on its own if need be.
"""

import os
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, get_context

DEFAULT_PRELOAD = ("simulations.run.preload",)


def start_server(preload: Sequence[str] = DEFAULT_PRELOAD) -> None:
    """Start the fork server if it does not run yet; returns at once.

    The first call of a process decides what is preloaded. Modules are found where this process
    finds them.
    """
    get_context("forkserver").set_forkserver_preload(["__main__", *preload])
    before = os.environ.get("PYTHONPATH")
    # the server does not take over sys.path, and ignores what it cannot import
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
