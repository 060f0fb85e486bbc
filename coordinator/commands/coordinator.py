"""``fedproof coordinator``: run a federation's coordinator until it is told to stop."""

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

    Goes on until SIGTERM or SIGINT, and ends within 20 seconds then. Killed in any other way, the
    same command goes on where it was. Human lines go to standard error, structured ones to
    state/logs/coordinator.jsonl.

    Examples:

      [bold]fedproof coordinator --config my-federation/coordinator.toml[/bold]

    Exit status: 0 after SIGTERM; 2 configuration, or a port in use; 5 chain; 6 disk, or the state
    folder is in use; 7 key file; 70 if it could not end in time.
    """
    from coordinator.daemon.plan import ServicePlan  # flwr and py-evm, only when needed
    from coordinator.daemon.service import CoordinatorService
    from coordinator.local.logs import start_logging, stop_logging
    from coordinator.protocol.errors import FedproofError

    plan = ServicePlan.read(config)
    asked = threading.Event()
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        asked.set()

    _bound_the_end(asked)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    start_logging(plan.state / "logs" / "coordinator.jsonl", level=plan.settings.log.level)
    try:
        service = CoordinatorService(plan, asked)
        try:
            service.start()
            asked.wait()
        finally:
            service.stop()
    except FedproofError:
        if not signals:  # ``asked`` is set by the service's own end as well
            raise
    finally:
        stop_logging()


def _bound_the_end(asked: threading.Event) -> None:
    """See to it that the process ends in time once it is asked to, whatever it is at by then.

    That may be its start: a deployment waits for receipts as long as the chain takes. All that
    matters is durable at any instant.
    """

    def wait() -> None:
        asked.wait()
        time.sleep(_STOP_WITHIN_S)
        os._exit(_STUCK)

    threading.Thread(target=wait, name="fedproof-end", daemon=True).start()
