"""Model, data, training and evaluation."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A small CNN for images of 8 x 8 pixels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(6 * 3 * 3, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


def load_data(partition_id, num_partitions, batch_size):
    """Return a partition's batches to train on and to test on."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[partition_id::num_partitions] / 16, dtype=torch.float32)
    data = TensorDataset(x.view(-1, 1, 8, 8), torch.tensor(labels[partition_id::num_partitions]))
    train, test = torch.utils.data.random_split(
        data, [0.8, 0.2], generator=torch.Generator().manual_seed(42)
    )
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, batch_size)


def train(net, trainloader, epochs, lr, device):
    """Train the model; return the average loss."""
    net.to(device).train()
    criterion = nn.CrossEntropyLoss().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    running_loss = 0.0
    for _ in range(epochs):
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
    return running_loss / (epochs * len(trainloader))


def test(net, testloader, device):
    """Return loss and accuracy."""
    net.to(device).eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for images, labels in testloader:
            outputs = net(images.to(device))
            loss += F.cross_entropy(outputs, labels.to(device)).item()
            correct += (outputs.argmax(1).cpu() == labels).sum().item()
    return loss / len(testloader), correct / len(testloader.dataset)
