"""What a process must be before it can own a pool: known to Flower, and killable cleanly."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID = 1


def identify_process(run_id: int) -> None:
    """Give Flower's ``Message()`` the identity it asks for, unless Flower already has."""
    for name, value in (("_run_id", run_id), ("_node_id", SERVER_NODE_ID), ("_task_id", 0)):
        if getattr(TaskIdentity, name) is None:
            setattr(TaskIdentity, name[1:], value)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into ``SystemExit`` while inside, so that clean-up runs.

    Only on the main thread, and only where nobody else has set a handler.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if not on_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
