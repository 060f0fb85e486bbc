"""The ClientApp."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from numpyexample.task import load_data, loss_and_gradient
from numpyexample.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = msg.content["arrays"].to_numpy_ndarrays()
    model, loss = train_fn(model, x, y, context.run_config["learning-rate"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord(model), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Evaluate the model on local data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss, _ = loss_and_gradient(msg.content["arrays"].to_numpy_ndarrays(), x, y)
    metrics = MetricRecord({"eval_loss": loss, "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
