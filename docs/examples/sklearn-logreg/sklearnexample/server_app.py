"""The ServerApp."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from sklearnexample.task import create_model, get_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for the rounds that the run's configuration asks for."""
    arrays = ArrayRecord(get_params(create_model(context.run_config["local-epochs"])))
    strategy = FedAvg(
        fraction_train=1.0,
        fraction_evaluate=1.0,
    )
    strategy.start(
        grid=grid,
        initial_arrays=arrays,
        num_rounds=context.run_config["num-server-rounds"],
    )
