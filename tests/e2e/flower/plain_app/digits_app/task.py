"""Model, data and loops of the example."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """64 pixels, 16 hidden units, 10 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.relu(self.fc1(x)))


def initial_model() -> Net:
    """Return the model every run starts with."""
    torch.manual_seed(7)
    return Net()


def load_data(partition_id: int, num_partitions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every ``num_partitions``-th digit."""
    images, labels = load_digits(return_X_y=True)
    part = slice(partition_id, None, num_partitions)
    return torch.tensor(images[part] / 16, dtype=torch.float32), torch.tensor(labels[part])


def train(net: Net, data: tuple[torch.Tensor, torch.Tensor], epochs: int, lr: float) -> float:
    """Train in place; return the last loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = torch.zeros(())
    for _ in range(epochs):
        for x, y in zip(data[0].split(32), data[1].split(32), strict=True):
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def evaluate(net: Net, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Return the accuracy."""
    with torch.no_grad():
        return float((net(data[0]).argmax(dim=1) == data[1]).float().mean())
