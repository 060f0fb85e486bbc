"""The ServerApp of plain Flower: FedAvg that records times."""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from bench_app.clock import mark
from bench_app.task import network

app = ServerApp()


class ClockedFedAvg(FedAvg):
    """FedAvg that records the times of a round's events."""

    clock = ""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        mark(self.clock, "opened", server_round)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        received = list(replies)
        mark(self.clock, "received", server_round)
        failed = [reply.error.reason for reply in received if reply.has_error()]
        if failed:
            raise RuntimeError(f"round {server_round}: {failed}")
        result = super().aggregate_train(server_round, received)
        mark(self.clock, "sealed", server_round)
        return result


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    nodes = int(context.run_config["nodes"])
    strategy = ClockedFedAvg(
        fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes
    )
    strategy.clock = str(context.run_config["clock"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(network().state_dict()),
        num_rounds=int(context.run_config["rounds"]),
    )
