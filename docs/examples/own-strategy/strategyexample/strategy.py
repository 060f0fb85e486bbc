"""A strategy that lowers the learning rate each round and stops when the loss is good enough."""

from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg


class EarlyStopping(FedAvg):
    """FedAvg with a start loop of its own."""

    def configure_train(self, server_round, arrays, config, grid):
        """Tell the clients the round's learning rate."""
        config["lr"] = 0.5 * 0.9 ** (server_round - 1)
        return super().configure_train(server_round, arrays, config, grid)

    def start(self, grid, initial_arrays, num_rounds, good_enough):
        """Train until the clients' loss is below a bound, or for so many rounds."""
        arrays = initial_arrays
        for server_round in range(1, num_rounds + 1):
            messages = self.configure_train(server_round, arrays, ConfigRecord(), grid)
            replies = grid.send_and_receive(messages, timeout=3600)
            aggregated, metrics = self.aggregate_train(server_round, replies)
            if aggregated is None:
                continue
            arrays = aggregated
            print(f"round {server_round}: loss {metrics['train_loss']:.3f}")
            if metrics["train_loss"] < good_enough:
                break
        return arrays
