"""The ServerApp."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from evaluationexample.task import accuracy, load_test_data, make_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and keep the model that the server finds best."""
    best = 0.0

    def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        nonlocal best
        model = make_model()
        model.load_state_dict(arrays.to_torch_state_dict())
        found = accuracy(model, *load_test_data())
        if found > best:
            best = found
            torch.save(model.state_dict(), "best_model.pt")
        return MetricRecord({"accuracy": found})

    arrays = ArrayRecord(make_model().state_dict())
    strategy = FedAvg(
        fraction_evaluate=1.0,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=arrays,
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )
    print("by clients:", result.evaluate_metrics_clientapp)
    print("by the server:", result.evaluate_metrics_serverapp)
