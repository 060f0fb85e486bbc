"""``fedproof coordinator``: run a federation's coordinator until a signal stops it."""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

_STOP_WITHIN_S: Final = 18.0
_STUCK: Final = 70


def coordinator(
    config: Annotated[
        Path, typer.Option(help="coordinator.toml, as 'fedproof federation init' wrote it.")
    ] = Path("coordinator.toml"),
) -> None:
    """Run a federation's coordinator: chain, store, rounds, and Flower's SuperLink.

    Runs until SIGTERM or SIGINT, then exits within 20 seconds. After a crash or kill -9, the same
    command resumes. The log goes to standard error, and as JSON to state/logs/coordinator.jsonl.

    Examples:

      [bold]fedproof coordinator --config my-federation/coordinator.toml[/bold]

    Exit status: 0 after SIGTERM; 2 configuration, or a port in use; 5 chain; 6 disk, or the state
    folder is in use; 7 key file; 70 if it did not stop in time.
    """
    from coordinator.daemon.plan import ServicePlan  # flwr and py-evm, only when needed
    from coordinator.daemon.service import CoordinatorService
    from coordinator.local.logs import start_logging, stop_logging
    from coordinator.protocol.errors import FedproofError

    plan = ServicePlan.read(config)
    stopping = threading.Event()
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        stopping.set()

    _exit_in_time(stopping)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    start_logging(plan.state / "logs" / "coordinator.jsonl", level=plan.settings.log.level)
    try:
        service = CoordinatorService(plan, stopping)
        try:
            service.start()
            stopping.wait()
        finally:
            service.stop()
    except FedproofError:
        if not signals:  # the service sets ``stopping`` too, when it fails
            raise
    finally:
        stop_logging()


def _exit_in_time(stopping: threading.Event) -> None:
    """End the process ``_STOP_WITHIN_S`` after ``stopping`` is set, even if a step still blocks.

    A start can block too: a deployment waits for receipts as long as the chain takes. The state on
    disk is consistent at every instant.
    """

    def wait() -> None:
        stopping.wait()
        time.sleep(_STOP_WITHIN_S)
        os._exit(_STUCK)

    threading.Thread(target=wait, name="fedproof-end", daemon=True).start()
