"""Model and data."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A small network for images of 8 x 8 pixels."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        return self.layers(x)


def load_data(partition_id, num_partitions):
    """Return a partition's batches to train on."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[partition_id::num_partitions] / 16, dtype=torch.float32)
    data = TensorDataset(x, torch.tensor(labels[partition_id::num_partitions]))
    return DataLoader(data, batch_size=32, shuffle=True)
