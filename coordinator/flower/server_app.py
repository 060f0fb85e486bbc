"""A federation's ServerApp, ``coordinator.flower.server_app:app``; it holds no keys (ADR 90).

Flower's executor starts it for each run, in a process that may end at any time; the service then
starts the next. It finds the service by the socket named in its environment, and proves by the
run's token that it belongs to the current run.
"""

import os
from pathlib import Path

# isort: split
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from coordinator.flower.driver_client import DriverClient
from coordinator.flower.round_loop import RoundLoop
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.wire import RUN_TOKEN

SOCKET_VARIABLE = "FEDPROOF_SOCKET"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Drive rounds until they are complete.

    Raises
    ------
    ConfigError
        If it was not started by a coordinator's service.
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise ConfigError(
            f"{SOCKET_VARIABLE} is not set: this ServerApp is started by 'fedproof coordinator'"
        )
    token = str(context.run_config.get(RUN_TOKEN, ""))
    with DriverClient(Path(path), token, grid.run.run_id) as driver:
        RoundLoop(driver, grid).run()
