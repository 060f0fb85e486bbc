"""Model, data, training and evaluation."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

TEST = 300  # the last digits are the server's


def make_model():
    """Return a linear model."""
    torch.manual_seed(1)
    return nn.Linear(64, 10)


def load_data(partition_id, num_partitions):
    """Return a partition's inputs and labels."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x[:-TEST] / 16, dtype=torch.float32), torch.tensor(y[:-TEST])
    return x[partition_id::num_partitions], y[partition_id::num_partitions]


def load_test_data():
    """Return what the server evaluates on."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x[-TEST:] / 16, dtype=torch.float32), torch.tensor(y[-TEST:])


def train(model, x, y, lr):
    """Train for an epoch; return the last loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = torch.zeros(())
    for batch, labels in zip(x.split(16), y.split(16), strict=True):
        optimizer.zero_grad()
        loss = cross_entropy(model(batch), labels)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def accuracy(model, x, y):
    """Return the share of correct answers."""
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())
