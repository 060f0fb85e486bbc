"""The ClientApp."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from evaluationexample.task import accuracy, load_data, make_model
from evaluationexample.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = make_model()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    loss = train_fn(model, x, y, context.run_config["learning-rate"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Evaluate the model on local data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = make_model()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    metrics = MetricRecord({"eval_acc": accuracy(model, x, y), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
