"""The ClientApp: gradients are clipped and noise is added, one example at a time."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from opacus import PrivacyEngine

from dpexample.task import Net, load_data

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data for one epoch; report the privacy spent in it."""
    settings = context.run_config
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    trainloader = load_data(
        context.node_config["partition-id"], context.node_config["num-partitions"]
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    engine = PrivacyEngine(secure_mode=False)
    private, optimizer, trainloader = engine.make_private(
        module=model,
        optimizer=optimizer,
        data_loader=trainloader,
        noise_multiplier=settings["noise-multiplier"],
        max_grad_norm=settings["max-grad-norm"],
    )
    criterion = torch.nn.CrossEntropyLoss()
    loss = torch.tensor(0.0)
    for images, labels in trainloader:
        optimizer.zero_grad()
        loss = criterion(private(images), labels)
        loss.backward()
        optimizer.step()
    metrics = {
        "train_loss": loss.item(),
        "epsilon": engine.get_epsilon(delta=settings["target-delta"]),
        "num-examples": len(trainloader.dataset),
    }
    content = RecordDict(
        {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    )
    return Message(content=content, reply_to=msg)
