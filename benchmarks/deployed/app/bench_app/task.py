"""The model and its training, as in Flower's quickstart for PyTorch."""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

WIDTHS = (64, 384, 192, 10)
BATCH = 16
LEARNING_RATE = 0.05


def network() -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(WIDTHS), 1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def load_data(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(path) as file:
        return torch.from_numpy(file["x"]), torch.from_numpy(file["y"])


def train(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss = torch.zeros(())
    for start in range(0, len(y), BATCH):
        optimizer.zero_grad()
        loss = cross_entropy(model(x[start : start + BATCH]), y[start : start + BATCH])
        loss.backward()
        optimizer.step()
    return loss.item()
