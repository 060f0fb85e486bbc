"""The ServerApp."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from strategyexample.strategy import EarlyStopping
from strategyexample.task import get_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train until the loss is good enough."""
    arrays = ArrayRecord(get_model())
    strategy = EarlyStopping()
    strategy.start(
        grid,
        arrays,
        num_rounds=context.run_config["num-server-rounds"],
        good_enough=context.run_config["good-enough"],
    )
